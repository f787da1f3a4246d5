"""Judgement of a history: what a fleet must never do, whatever the faults.

1. Every accepted order has one final status, the status of its last run.
2. A run that succeeded or failed had the effect of each step that it executed exactly once, and no
   run had one more than once. One that is rejected had none, and one ends as exception only if it
   could not be executed.
3. An order has its effects in one run at most, unless its workflow is idempotent or has automatic
   retries. Then it gets new runs, no more than it may have, and a lost run stays lost.
4. A run is lost only if its worker was disturbed while it had it.
5. The events of each run follow the rules of a run, without a gap.
6. A state that followers saw as final never changes afterwards.
7. No part of the fleet ends by itself.
8. Followers see the end of each run, and an alert for each that ended as exception or lost.
9. A claim gets its runs once; it is not answered by two control planes.
10. A worker begins a run only after its start under the worker's own lease is committed.
11. The limits of a policy hold, and orders are rejected only because of them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from worker.core.status import STATUSES, Status
from worker.testing.simulation.faults import FaultKind
from worker.testing.simulation.history import History
from worker.testing.simulation.limit_breaches import limits, new_runs, rejection

_MARGIN_S = 30.0
"""How long after a fault of its worker a run can be lost because of it."""


def breaches(history: History) -> Iterator[str]:
    """Yield what the fleet did wrong."""
    if history.failure:
        yield history.failure
    for run_id in sorted(history.begun_early):
        yield f"the run {run_id} was begun before its start was stored"
    for order_id in sorted(history.accepted):
        yield from _order(history, order_id)
    for run_id, run in sorted(history.runs.items()):
        yield from _run(history, run_id, run)
    yield from limits(history)
    for topic, states in sorted(history.states.items()):
        yield from _states(history, topic, states)
    for claim_id in sorted(history.answered_twice):
        yield f"the claim {claim_id} was answered with other runs later"


def _order(history: History, order_id: str) -> Iterator[str]:
    order = history.orders.get(order_id)
    if order is None:
        yield f"the order {order_id} was accepted, and is not there"
        return
    place = history.submitted[order_id]
    if order["status"] == "rejected" and not order["all_runs"]:
        yield from rejection(history, order_id, order)
        return
    is_final = STATUSES[Status(order["status"])].final
    if not is_final and not history.workload.holds_back(*place):
        yield f"the order {order_id} is still {order['status']}"
    last = order["all_runs"][-1]
    if order["status"] != last["status"]:
        yield f"the order {order_id} is {order['status']}, and its last run {last['status']}"
    yield from new_runs(history, order_id, order)


def _run(history: History, run_id: str, run: Mapping[str, Any]) -> Iterator[str]:
    log = history.logs.get(run_id, [])
    effects = Counter(
        {(step, number): n for (id, step, number), n in history.effects.items() if id == run_id}
    )
    yield from _effects(run_id, run, log, effects)
    if run["status"] == "lost" and not _was_disturbed(history, run):
        yield f"the run {run_id} is lost, and its worker {run.get('worker')} was never disturbed"
    if run["status"] == "rejected" and effects:
        yield f"the run {run_id} is rejected, and had its effect"
    if run["status"] == "exception" and run_id not in history.exceptions:
        yield f"the run {run_id} is exception for no reason: {run.get('error_message')}"
    if (run_id, run["status"]) not in history.seen:
        yield f"the run {run_id} is {run['status']}, and no follower saw that"
    if run["status"] in ("exception", "lost") and run_id not in history.alerts:
        yield f"the run {run_id} is {run['status']}, and nobody was alerted"
    numbers = [event["seq"] for event in log]
    if numbers != list(range(len(log))):
        yield f"the events of the run {run_id} have the numbers {numbers}"
    if run["status"] in ("success", "failed") and (not log or log[-1]["type"] != "run:complete"):
        yield f"the run {run_id} is {run['status']}, and its events do not reach its end"


def _effects(
    run_id: str,
    run: Mapping[str, Any],
    log: list[dict[str, Any]],
    effects: Counter[tuple[str, int]],
) -> Iterator[str]:
    began = Counter((e["job_id"], e["execution"]) for e in log if e["type"] == "step:start")
    ended = run["status"] in ("success", "failed")
    for step, execution in sorted({*effects, *(began if ended else ())}):
        times = effects[step, execution]
        # Of a run that was cut short, any step may have had its effect, but none had it twice.
        if times > 1 or (ended and times != began[step, execution]):
            yield (
                f"the run {run_id} is {run['status']}, and its step {step} had its effect {times} "
                f"times in its execution {execution}"
            )


def _was_disturbed(history: History, run: Mapping[str, Any]) -> bool:
    began_s = history.seen.get((run["run_id"], "running"), 0.0)
    ended_s = history.seen.get((run["run_id"], "lost"), math.inf)
    return any(
        fault.target == run.get("worker")
        and fault.kind is not FaultKind.CLOCK
        and fault.at_s <= ended_s
        and began_s <= fault.at_s + fault.lasts_s + _MARGIN_S
        for fault in history.injected
    )


def _states(history: History, topic: str, states: list[str]) -> Iterator[str]:
    place = history.submitted.get(topic.split("/")[-2])
    # A new run begins an ended order again.
    if place is not None and history.workload.repetition(*place).times:
        return
    final = next((state for state in states if STATUSES[Status(state)].final), None)
    if final is None:
        return
    later = states[states.index(final) :]
    if any(state != final for state in later):
        yield f"{topic} was {final}, and then {', '.join(later[1:])}"
