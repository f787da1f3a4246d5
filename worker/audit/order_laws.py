"""Laws of a control plane's orders and runs, beside those of the events of one run.

8. A run has a final status if it is final, and only then. Waiting runs are pending, started ones
   are running.
9. A run is what its events are: it ends with their ``run:complete``, for the same reason and error
   type, and has none before. One that was lost, cancelled or rejected may have ended without.
10. The error type of a run means its status. A success has none.
11. The runs of an order are numbered from 1 without a gap, and one of them at a time has not ended.
    The order has the status of its last run.
12. A run that ends as exception or lost has an alert.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from worker.audit.laws import Breach, first_breach
from worker.core.events import AnyEvent, RunComplete
from worker.core.status import STATUSES, Status, status_of

_STATUS_OF_PHASE: Mapping[str, Status] = {
    "delayed": Status.PENDING,
    "available": Status.PENDING,
    "claimed": Status.PENDING,
    "started": Status.RUNNING,
}
_ENDED_OUTSIDE = (Status.LOST, Status.CANCELLED, Status.REJECTED)
_ALERTED = (Status.EXCEPTION, Status.LOST)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedRun:
    """Run as it is stored, with the events of its last attempt, without their dataclips."""

    id: str
    number: int
    phase: str
    status: Status
    error_type: str | None
    has_alert: bool
    events: tuple[AnyEvent, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedOrder:
    """Order as it is stored, with its runs."""

    id: str
    status: Status
    last_run: str | None
    runs: tuple[AuditedRun, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderBreach:
    """Place that breaks a law; ``run`` is empty for the order itself, ``event`` is an index."""

    order: str
    law: int
    message: str
    run: str = ""
    event: int | None = None


def order_breaches(order: AuditedOrder) -> Iterator[OrderBreach]:
    """Yield the breaches of an order, and the first of each of its runs."""
    for law, message in _of_order(order):
        yield OrderBreach(order=order.id, law=law, message=message)
    for run in order.runs:
        if (breach := _first_of_run(run)) is not None:
            event = None if breach.index < 0 else breach.index
            yield OrderBreach(
                order=order.id, run=run.id, law=breach.law, message=breach.message, event=event
            )


def _of_order(order: AuditedOrder) -> Iterator[tuple[int, str]]:
    runs = sorted(order.runs, key=lambda run: run.number)
    numbers = [run.number for run in runs]
    if numbers != list(range(1, len(runs) + 1)):
        yield 11, f"its runs have the numbers {_listed(numbers)}"
    open_runs = [run for run in runs if run.phase != "final"]
    if len(open_runs) > 1:
        yield 11, f"{len(open_runs)} of its runs have not ended"
    last = runs[-1] if runs else None
    if last is not None and order.last_run != last.id:
        yield 11, f"its last run is {order.last_run}, expected {last.id}"
    # An order without a run waits for its first, or was refused.
    allowed: Collection[Status] = (Status.PENDING, Status.REJECTED)
    if last is not None:
        allowed = (last.status,)
    if order.status not in allowed:
        expected = " or ".join(allowed)
        yield 11, f"it is {order.status}, and its last run makes it {expected}"


def _listed(numbers: Sequence[int]) -> str:
    text = ", ".join(map(str, numbers[:10]))
    return f"{text}, …" if len(numbers) > 10 else text


_NO_EVENT = -1


def _first_of_run(run: AuditedRun) -> Breach | None:
    for law, message in _of_run(run):
        return Breach(_NO_EVENT, law, message)
    if not run.events:
        return None
    breach = first_breach(run.events)
    # The end of a run that has not ended, or that ended without its worker, is no part of the log.
    is_open = run.phase != "final" or run.status in _ENDED_OUTSIDE
    return None if breach is not None and breach.index == len(run.events) and is_open else breach


def _of_run(run: AuditedRun) -> Iterator[tuple[int, str]]:
    final = run.phase == "final"
    fits = STATUSES[run.status].final if final else run.status is _STATUS_OF_PHASE.get(run.phase)
    if not fits:
        yield 8, f"it is {run.phase}, and has the status {run.status}"
    yield from _error(run)
    yield from _end(run, final=final)
    if run.status in _ALERTED and not run.has_alert:
        yield 12, f"it ends as {run.status} without an alert"


def _error(run: AuditedRun) -> Iterator[tuple[int, str]]:
    if run.error_type is None:
        return
    meant = status_of(run.error_type)
    if meant is not run.status:
        yield 10, f"it is {run.status} with a {run.error_type}, which means {meant}"


def _end(run: AuditedRun, *, final: bool) -> Iterator[tuple[int, str]]:
    ends = [event for event in run.events if isinstance(event, RunComplete)]
    if not ends:
        if final and run.status not in _ENDED_OUTSIDE:
            yield 9, f"it ends as {run.status}, and its events have no end"
        return
    end = ends[-1]
    error_type = None if end.error is None else end.error.type
    if not final:
        yield 9, f"it is {run.phase}, and its events have an end"
    elif end.status is not run.status:
        yield 9, f"it is {run.status}, and its events end as {end.status}"
    elif error_type != run.error_type:
        yield 9, f"it has the error type {run.error_type}, and its events {error_type}"
