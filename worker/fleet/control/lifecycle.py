"""The lifecycle of a run: one table of transitions, and ``apply``, the only way to change a run.

Pure: tokens and times (microseconds since the epoch) come in with the events; those of reports are
by the clock of the worker. The table states these rules:

- A final run never changes: no event is legal for it. Late reports are stored apart, and refused.
- A run starts when its worker requests that, and the worker executes nothing before the response.
  A lease that expires before that returns the run to the queue, up to ``ATTEMPTS`` attempts; then
  the run is lost (LostAfterClaim). A run that is handed back keeps its attempt. A run that started
  and whose lease expires is lost (LostAfterStart), because its side effects are unknown.
- A cancelled run ends at once while it waits. While it is leased, its worker is notified and has to
  confirm; if the lease ends before the run started, the run is cancelled instead of requeued.
- A delayed run waits outside of the queue until it is due. A run that has not started by its
  deadline is rejected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from msgspec.structs import replace

from worker.core.status import Status
from worker.fleet.control.entities import RunPhase, RunRecord

# Bounds the damage of a run that kills its workers before they can report its start.
ATTEMPTS = 5
# Less than this is the way of a message and the start of a process.
MIN_SKEW_US = 1_000_000
LATE = "the run had not started by its deadline"

# --- events ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A worker leases the run. ``expires`` is the end of the lease; ``token`` proves it."""

    worker: str
    incarnation: str
    claim_id: str
    token: str
    expires: int
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StartConfirmed:
    """The worker requests to execute the run, and may as soon as this is committed."""

    at: int
    expires: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """The first event of the attempt, unless that is its completion."""

    seq: int
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progressed:
    """An event between the first and the completion."""

    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """The worker reports the final status of the run."""

    seq: int
    at: int
    status: Status
    error_type: str | None = None
    error_message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """A heartbeat: the lease now ends at ``expires``."""

    expires: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerDisconnected:
    """The worker's connection broke, or its process restarted: the lease is cut to ``expires``."""

    expires: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """The lease ended without a heartbeat, or for a ``reason`` that the worker gave."""

    at: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedBack:
    """The worker returns a run that it has not started."""

    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequested:
    """A client cancels the run, or another order replaces it for a ``reason``."""

    at: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """The delay of the run is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Postponed:
    """The run is delayed further, to ``until``."""

    until: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlinePassed:
    """The run has not started in time."""

    at: int


LifecycleEvent = (
    Claimed
    | StartConfirmed
    | RunStarted
    | Progressed
    | Completed
    | Renewed
    | WorkerDisconnected
    | Expired
    | HandedBack
    | CancelRequested
    | Due
    | Postponed
    | DeadlinePassed
)


class IllegalTransition(Exception):
    """An event that the run's phase does not allow: a defect of the caller, never of a message."""

    def __init__(self, run: RunRecord, event: LifecycleEvent) -> None:
        super().__init__(f"{type(event).__name__} is not allowed: run {run.id} is {run.phase}")
        self.run, self.event = run, event


def apply(run: RunRecord, event: LifecycleEvent) -> RunRecord:
    """Apply an event to a run. Raises :class:`IllegalTransition` on one not in the table."""
    for row in _ROWS.get((run.phase, type(event)), ()):
        if row.guard is None or row.guard(run):
            return replace(run, phase=row.target, **row.changes(run, event))
    raise IllegalTransition(run, event)


# --- changes --------------------------------------------------------------------------------------


Changes = dict[str, Any]


def _lease(run: RunRecord, event: Claimed) -> Changes:
    return {
        "worker": event.worker,
        "incarnation": event.incarnation,
        "claim_id": event.claim_id,
        "token": event.token,
        "expires": event.expires,
        "assigned": event.at,
    }


def _confirm_start(run: RunRecord, event: StartConfirmed) -> Changes:
    return {"status": Status.RUNNING, "started": event.at, "expires": event.expires}


def _start(run: RunRecord, event: RunStarted) -> Changes:
    return {
        "status": Status.RUNNING,
        "started": event.at,
        "reported": event.seq,
        "skew": _skew(run, event),
    }


def _skew(run: RunRecord, event: RunStarted) -> int | None:
    # The worker begins as soon as its start is confirmed, which is by the other clock.
    if run.started is None:
        return None
    skew = event.at - run.started
    return skew if abs(skew) >= MIN_SKEW_US else None


def _progress(run: RunRecord, event: Progressed) -> Changes:
    return {"reported": event.seq}


def _complete(run: RunRecord, event: Completed) -> Changes:
    ended = _end(event.status, event.at, event.error_type, event.error_message)
    return {**ended, "reported": event.seq}


def _renew(run: RunRecord, event: Renewed) -> Changes:
    return {"expires": event.expires}


def _shorten(run: RunRecord, event: WorkerDisconnected) -> Changes:
    # A second disconnect must not extend the time that the first one left.
    return {"expires": min(run.expires, event.expires)}


def _mark_cancelling(run: RunRecord, event: CancelRequested) -> Changes:
    return {"cancelling": True}


def _cancel(run: RunRecord, event: Expired | HandedBack) -> Changes:
    return _end(Status.CANCELLED, event.at, "CancelledError", "the run was cancelled")


def _cancel_waiting(run: RunRecord, event: CancelRequested) -> Changes:
    message = event.reason or "the run was cancelled"
    return _end(Status.CANCELLED, event.at, "CancelledError", message)


def _queue(run: RunRecord, event: Due) -> Changes:
    return {"expires": 0}


def _postpone(run: RunRecord, event: Postponed) -> Changes:
    return {"expires": event.until}


def _reject(run: RunRecord, event: DeadlinePassed) -> Changes:
    return _end(Status.REJECTED, event.at, None, LATE)


def _lose_claimed(run: RunRecord, event: Expired) -> Changes:
    message = f"the run was claimed {run.attempt} times, and never started"
    return _end(Status.LOST, event.at, "LostAfterClaim", message)


def _lose_started(run: RunRecord, event: Expired) -> Changes:
    silent = f"worker '{run.worker}' sent nothing more after the run had started"
    message = f"worker '{run.worker}' {event.reason}" if event.reason else silent
    return _end(Status.LOST, event.at, "LostAfterStart", message)


def _requeue(run: RunRecord, event: Expired) -> Changes:
    return {**_UNLEASED, "attempt": run.attempt + 1}


def _return(run: RunRecord, event: HandedBack) -> Changes:
    return _UNLEASED


_UNLEASED: Final[Changes] = {
    "worker": None,
    "incarnation": None,
    "claim_id": None,
    "token": None,
    "expires": 0,
    "assigned": None,
}


def _end(status: Status, at: int, error_type: str | None, error_message: str | None) -> Changes:
    return {
        "status": status,
        "finished": at,
        "error_type": error_type,
        "error_message": error_message,
    }


# --- the table ------------------------------------------------------------------------------------


def _cancelling(run: RunRecord) -> bool:
    return run.cancelling


def _last_attempt(run: RunRecord) -> bool:
    return run.attempt >= ATTEMPTS


@dataclass(frozen=True, slots=True)
class Transition:
    """A row of the table: in ``source``, ``event`` leads to ``target`` where ``guard`` holds."""

    source: RunPhase
    event: type[LifecycleEvent]
    target: RunPhase
    changes: Callable[[RunRecord, Any], Changes]
    guard: Callable[[RunRecord], bool] | None = None
    note: str = ""


_DELAYED, _AVAILABLE, _CLAIMED, _STARTED, _FINAL = RunPhase

# The first row that matches is taken, so guarded rows stand before the general one.
TABLE: tuple[Transition, ...] = (
    Transition(_DELAYED, Due, _AVAILABLE, _queue),
    Transition(_DELAYED, Postponed, _DELAYED, _postpone),
    Transition(_DELAYED, CancelRequested, _FINAL, _cancel_waiting, note="cancelled"),
    Transition(_DELAYED, DeadlinePassed, _FINAL, _reject, note="rejected"),
    Transition(_AVAILABLE, Claimed, _CLAIMED, _lease),
    Transition(_AVAILABLE, CancelRequested, _FINAL, _cancel_waiting, note="cancelled"),
    Transition(_AVAILABLE, DeadlinePassed, _FINAL, _reject, note="rejected"),
    Transition(_CLAIMED, StartConfirmed, _STARTED, _confirm_start),
    Transition(_CLAIMED, RunStarted, _STARTED, _start, note="not requested before"),
    Transition(_CLAIMED, Completed, _FINAL, _complete, note="never started"),
    Transition(_CLAIMED, Renewed, _CLAIMED, _renew),
    Transition(_CLAIMED, WorkerDisconnected, _CLAIMED, _shorten),
    Transition(_CLAIMED, CancelRequested, _CLAIMED, _mark_cancelling),
    Transition(_CLAIMED, DeadlinePassed, _FINAL, _reject, note="rejected"),
    Transition(_CLAIMED, HandedBack, _FINAL, _cancel, _cancelling, "cancelled"),
    Transition(_CLAIMED, HandedBack, _AVAILABLE, _return),
    Transition(_CLAIMED, Expired, _FINAL, _cancel, _cancelling, "cancelled"),
    Transition(_CLAIMED, Expired, _FINAL, _lose_claimed, _last_attempt, "LostAfterClaim"),
    Transition(_CLAIMED, Expired, _AVAILABLE, _requeue, note="attempt + 1"),
    Transition(_STARTED, RunStarted, _STARTED, _start, note="first event"),
    Transition(_STARTED, Progressed, _STARTED, _progress),
    Transition(_STARTED, Completed, _FINAL, _complete),
    Transition(_STARTED, Renewed, _STARTED, _renew),
    Transition(_STARTED, WorkerDisconnected, _STARTED, _shorten),
    Transition(_STARTED, CancelRequested, _STARTED, _mark_cancelling),
    Transition(_STARTED, Expired, _FINAL, _lose_started, note="LostAfterStart"),
)

_ROWS: dict[tuple[RunPhase, type[LifecycleEvent]], list[Transition]] = {}
for _row in TABLE:
    _ROWS.setdefault((_row.source, _row.event), []).append(_row)


# --- leases ---------------------------------------------------------------------------------------


class LeaseCheck(Enum):
    """The result of comparing a worker's lease with the run's."""

    VALID = auto()
    STALE = auto()
    FORGED = auto()


def check_lease(run: RunRecord, worker: str, attempt: int, token: str) -> LeaseCheck:
    """Compare the lease of a worker's report, heartbeat or release with the run's."""
    # The token of an older attempt is not stored any more, so it cannot be compared.
    if attempt < run.attempt:
        return LeaseCheck.STALE
    if attempt > run.attempt or worker != run.worker or token != run.token:
        return LeaseCheck.FORGED
    return LeaseCheck.VALID if run.leased else LeaseCheck.STALE
