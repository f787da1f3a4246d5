"""Judgement of a history by its workload: new runs of orders, and the limits of the policy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from worker.testing.simulation.faults import FaultKind
from worker.testing.simulation.history import History, Span


def new_runs(history: History, order_id: str, order: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the runs of an order, of which all but the last were repeated."""
    rule = history.workload.repetition(*history.submitted[order_id])
    runs = order["all_runs"]
    if len(runs) > rule.times + 1:
        yield f"the order {order_id} has {len(runs)} runs, and may have {rule.times + 1}"
    for run in runs[:-1]:
        if not rule.covers(run["status"], run.get("error_type")):
            yield f"the order {order_id} has a new run after its {run['status']} run"
    had_effects = {run_id for run_id, _, _ in history.effects} & {run["run_id"] for run in runs}
    if not rule.times and len(had_effects) > 1:
        yield f"the order {order_id} had its effects in {len(had_effects)} runs"
    last = runs[-1]
    repeats = rule.covers(last["status"], last.get("error_type"))
    if repeats and len(runs) <= rule.times and order_id not in history.cancelled:
        yield f"the order {order_id} is {last['status']}, and got no new run"


def rejection(history: History, order_id: str, order: Mapping[str, Any]) -> Iterator[str]:
    """Yield why an order must not have been rejected."""
    _, project = history.submitted[order_id]
    limits = history.workload.policy.of(project)
    most = [limit for limit in (limits.concurrent, limits.per_period) if limit is not None]
    runs = sum(
        len(other["all_runs"])
        for id, other in history.orders.items()
        if history.submitted[id][1] == project
    )
    if not order.get("reason") or not most or runs < min(most):
        yield f"the order {order_id} is rejected for no reason: {order.get('reason')}"


def limits(history: History) -> Iterator[str]:
    """Yield where more runs were under way at once, or accepted, than the policy lets."""
    # What a lost or cancelled run still does when others have its place, its worker alone knows.
    counted = {
        run_id: history.submitted[run["order_id"]]
        for run_id, run in history.runs.items()
        if run["status"] not in ("lost", "cancelled")
    }
    of_places: dict[tuple[str, str], list[Span]] = defaultdict(list)
    of_projects: dict[str, list[Span]] = defaultdict(list)
    for span in history.spans:
        if (place := counted.get(span.run_id)) is not None:
            of_places[place].append(span)
            of_projects[place[1]].append(span)
    for (name, project), spans in sorted(of_places.items()):
        limit = history.workload.concurrency(name, project)
        yield from _at_once(spans, limit, f"of '{name}' in the project {project}")
    for project, spans in sorted(of_projects.items()):
        limit = history.workload.policy.of(project).concurrent
        yield from _at_once(spans, limit, f"of the project {project}")
        yield from _accepted(history, project)


def _at_once(spans: list[Span], limit: int | None, of_what: str) -> Iterator[str]:
    if limit is not None and (most := _most(spans)) > limit:
        yield f"{most} runs {of_what} were under way at once, and the limit is {limit}"


def _most(spans: Iterable[Span]) -> int:
    # An end sorts before a begin at the same time.
    changes = sorted(change for span in spans for change in ((span.began_s, 1), (span.ended_s, -1)))
    most = current = 0
    for _, change in changes:
        current += change
        most = max(most, current)
    return most


def _accepted(history: History, project: str) -> Iterator[str]:
    limit = history.workload.policy.of(project)
    # The period is one of the wall clock, and a clock that jumps begins another.
    jumped = any(fault.kind is FaultKind.CLOCK for fault in history.injected)
    if limit.per_period is None or limit.over_limit == "queue" or jumped:
        return
    accepted = sum(
        history.submitted[id][1] == project and order["status"] != "rejected"
        for id, order in history.orders.items()
    )
    if accepted > limit.per_period and history.simulated_s < limit.period_s:
        yield f"{accepted} orders of the project {project} were accepted in a period"
