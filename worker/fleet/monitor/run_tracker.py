"""Tracks active runs with their current steps, and counts ended runs per second."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from worker.core.events import StepComplete, StepStart
from worker.core.status import STATUSES, Status
from worker.fleet.messaging.state_messages import RunEvents, RunState
from worker.fleet.monitor.decode import decode_events
from worker.fleet.notifications import Gap, Notification

WINDOW_S = 60
# The end of a run may be missed, so the number of runs is bounded.
MAX_RUNS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedRun:
    """Active run with its worker, start (in microseconds) and current step."""

    run_id: str
    order_id: str
    workflow: str
    worker: str
    started: int
    step: str


class RunTracker:
    """Keeps the active runs that notifications report."""

    def __init__(self) -> None:
        self._states: OrderedDict[str, RunState] = OrderedDict()
        self._steps: OrderedDict[str, str] = OrderedDict()
        self._ended: Counter[tuple[int, str]] = Counter()

    def running(self, run_id: str) -> TrackedRun | None:
        """Look up an active run; None for an unknown one."""
        state = self._states.get(run_id)
        if state is None:
            return None
        return TrackedRun(
            run_id=run_id,
            order_id=state.order_id,
            workflow=state.workflow,
            worker=state.worker or "",
            started=state.started or state.created,
            step=self._steps.get(run_id, ""),
        )

    def handle(self, notification: Notification, second: int) -> None:
        """Process a notification received in this second of a monotonic clock."""
        match notification:
            case RunState():
                self._state(notification, second)
            case RunEvents():
                self._events(notification)
            case Gap():
                # An end may have been missed: active runs are queried again.
                self._states.clear()
                self._steps.clear()
            case _:
                pass

    def add(self, run: Mapping[str, Any]) -> None:
        """Add a run that was queried, with its steps."""
        open_steps = [step["job_id"] for step in run["steps"] if "reason" not in step]
        if open_steps:
            self._put(self._steps, run["run_id"], open_steps[-1])
        if run["status"] == Status.RUNNING:
            fields = {name: run.get(name) for name in RunState.__struct_fields__}
            self._put(self._states, run["run_id"], msgspec.convert(fields, RunState))

    def runs_ended(self, second: int) -> tuple[int, ...]:
        """Count the runs that ended in each of the last ``WINDOW_S`` seconds, the newest last."""
        by_status = self.ended_by_status(second).values()
        return tuple(map(sum, zip(*by_status, strict=True))) if by_status else (0,) * WINDOW_S

    def ended_by_status(self, second: int) -> dict[str, tuple[int, ...]]:
        """Count as :meth:`runs_ended` does, by status; without statuses that no run had."""
        begin = second - WINDOW_S + 1
        for old in [key for key in self._ended if key[0] < begin]:
            del self._ended[old]
        statuses = {status for _, status in self._ended}
        return {
            str(status): tuple(self._ended[begin + n, str(status)] for n in range(WINDOW_S))
            for status in STATUSES
            if status in statuses
        }

    def _state(self, state: RunState, second: int) -> None:
        if STATUSES[Status(state.status)].final:
            self._ended[second, state.status] += 1
        if Status(state.status) is Status.RUNNING:
            self._put(self._states, state.run_id, state)
        else:
            self._states.pop(state.run_id, None)
            self._steps.pop(state.run_id, None)

    def _events(self, message: RunEvents) -> None:
        # The first events of a run may arrive before its state: they are different topics.
        for event in decode_events(message):
            if isinstance(event, StepStart):
                self._put(self._steps, message.run_id, event.job_name or event.job_id)
            elif isinstance(event, StepComplete):
                self._steps.pop(message.run_id, None)

    # The oldest entry is dropped first: it is the most likely to have ended unnoticed.
    def _put(self, entries: OrderedDict[str, Any], run_id: str, value: Any) -> None:
        entries[run_id] = value
        if len(entries) > MAX_RUNS:
            entries.popitem(last=False)
