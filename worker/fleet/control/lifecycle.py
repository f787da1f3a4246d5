"""The rules of a run, from its order to its one final status. Pure: times and tokens come in.

    available --claim--> claimed --run:start--> started --run:complete--> final
        ^                   |                      |
        +---- expired, -----+                      +-- expired: lost
              handed back (attempt + 1)

- A final run never changes. What is reported of it afterwards is stale: kept, and refused.
- An expired claim that was not started goes back to the queue, up to ``ATTEMPTS`` times: then the
  run is lost (LostAfterClaim). A run that was started and expires is lost (LostAfterStart): what
  it had done to the world is not known, so it is not done again.
- A cancelled run ends at once where it waits. Where it is leased, its worker is told and confirms;
  if it cannot any more, a claim that was not started is cancelled when it expires.
- Events are taken in order, each once; a gap is not taken.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum, auto

from worker.core.status import STATUS_OF_REASON, Status
from worker.fleet.control.entities import RunPhase, RunRecord

ATTEMPTS = 5


class LeaseCheck(Enum):
    """What to do with a report."""

    TAKE = auto()
    STALE = auto()
    FORGED = auto()


def claim(
    run: RunRecord, *, worker: str, incarnation: str, claim_id: str, token: str, expires: int
) -> RunRecord:
    """Lease a run that waits."""
    assert run.phase is RunPhase.AVAILABLE
    return replace(
        run,
        phase=RunPhase.CLAIMED,
        worker=worker,
        incarnation=incarnation,
        claim_id=claim_id,
        token=token,
        expires=expires,
    )


def judge(run: RunRecord, worker: str, attempt: int, token: str) -> LeaseCheck:
    """Whether a report, a heartbeat or a release comes from who holds the lease."""
    if attempt < run.attempt:
        return LeaseCheck.STALE
    if attempt > run.attempt or worker != run.worker or token != run.token:
        return LeaseCheck.FORGED
    return LeaseCheck.TAKE if run.leased else LeaseCheck.STALE


def start(run: RunRecord, seq: int, now: int) -> RunRecord:
    """The run's process has begun."""
    return replace(
        run, phase=RunPhase.STARTED, status=Status.RUNNING, started=run.started or now, reported=seq
    )


def progress(run: RunRecord, seq: int) -> RunRecord:
    """An event that changes nothing but what was heard."""
    return replace(run, reported=seq)


def complete(
    run: RunRecord, seq: int, reason: str, error_type: str | None, message: str | None, now: int
) -> RunRecord:
    """The worker says how the run ended."""
    return replace(_end(run, STATUS_OF_REASON[reason], error_type, message, now), reported=seq)


def renew(run: RunRecord, expires: int) -> RunRecord:
    """The lease goes on."""
    return replace(run, expires=expires)


def shorten(run: RunRecord, expires: int) -> RunRecord:
    """The worker seems to be gone: it has until ``expires`` to come back."""
    return replace(run, expires=min(run.expires, expires))


def expire(run: RunRecord, now: int) -> RunRecord:
    """The lease ended without a word from the worker."""
    assert run.leased
    if run.phase is RunPhase.STARTED:
        text = f"worker '{run.worker}' was not heard of again after the run had started"
        return _end(run, Status.LOST, "LostAfterStart", text, now)
    if run.cancelling:
        return cancelled(run, now)
    if run.attempt >= ATTEMPTS:
        text = f"the run was claimed {run.attempt} times, and never started"
        return _end(run, Status.LOST, "LostAfterClaim", text, now)
    return _again(run)


def hand_back(run: RunRecord, now: int) -> RunRecord:
    """The worker does not start the run after all."""
    assert run.phase is RunPhase.CLAIMED
    return cancelled(run, now) if run.cancelling else _again(run)


def cancel(run: RunRecord, now: int) -> RunRecord:
    """Somebody wants the run to end."""
    assert run.phase is not RunPhase.FINAL
    return cancelled(run, now) if run.phase is RunPhase.AVAILABLE else replace(run, cancelling=True)


def cancelled(run: RunRecord, now: int) -> RunRecord:
    return _end(run, Status.CANCELLED, "CancelledError", "the run was cancelled", now)


def _again(run: RunRecord) -> RunRecord:
    return replace(
        run,
        phase=RunPhase.AVAILABLE,
        attempt=run.attempt + 1,
        worker=None,
        incarnation=None,
        claim_id=None,
        token=None,
        expires=0,
        reported=-1,
    )


def _end(
    run: RunRecord, status: Status, error_type: str | None, message: str | None, now: int
) -> RunRecord:
    return replace(
        run,
        phase=RunPhase.FINAL,
        status=status,
        finished=now,
        error_type=error_type,
        error_message=message,
    )
