"""What is heard of runs: which go, at which step each is, and how many end each second."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from worker.core.events import StepComplete, StepStart
from worker.core.status import STATUSES, Status
from worker.fleet.client import Gap, News
from worker.fleet.messaging import messages as wire
from worker.fleet.monitor.decode import heard

WINDOW_S = 60
REMEMBERED = 10_000
"""How many runs are kept in mind: of some, the end may never be heard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedRun:
    """A run that goes: where, since when (in microseconds), and at which step."""

    run_id: str
    order_id: str
    workflow: str
    worker: str
    started: int
    step: str


class RunTracker:
    """Keeps count of what it is told."""

    def __init__(self) -> None:
        self._states: OrderedDict[str, wire.RunState] = OrderedDict()
        self._steps: OrderedDict[str, str] = OrderedDict()
        self._ended: Counter[int] = Counter()

    def going(self, run_id: str) -> TrackedRun | None:
        """A run that goes; ``None`` where that was not heard."""
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

    def heed(self, news: News, second: int) -> None:
        """Take note of what was heard in this second (of any clock that only goes forward)."""
        match news:
            case wire.RunState():
                self._state(news, second)
            case wire.RunEvents():
                self._events(news)
            case Gap():
                self._states.clear()
                self._steps.clear()
            case _:
                pass

    def learn(self, run: Mapping[str, Any]) -> None:
        """Take note of a run that was asked for, with its steps."""
        open_steps = [step["job_id"] for step in run["steps"] if "reason" not in step]
        if open_steps:
            self._put(self._steps, run["run_id"], open_steps[-1])
        if run["status"] == Status.RUNNING:
            fields = {name: run.get(name) for name in wire.RunState.__struct_fields__}
            self._put(self._states, run["run_id"], msgspec.convert(fields, wire.RunState))

    def pace(self, second: int) -> tuple[int, ...]:
        """How many runs ended in each of the last ``WINDOW_S`` seconds, the newest last."""
        begin = second - WINDOW_S + 1
        for old in [one for one in self._ended if one < begin]:
            del self._ended[old]
        return tuple(self._ended[begin + number] for number in range(WINDOW_S))

    def _state(self, state: wire.RunState, second: int) -> None:
        if STATUSES[Status(state.status)].final:
            self._ended[second] += 1
        if Status(state.status) is Status.RUNNING:
            self._put(self._states, state.run_id, state)
        else:
            self._states.pop(state.run_id, None)
            self._steps.pop(state.run_id, None)

    def _events(self, told: wire.RunEvents) -> None:
        """A run's first events may be heard before its state."""
        for fact in heard(told):
            if isinstance(fact, StepStart):
                self._put(self._steps, told.run_id, fact.job_name or fact.job_id)
            elif isinstance(fact, StepComplete):
                self._steps.pop(told.run_id, None)

    def _put(self, kept: OrderedDict[str, Any], run_id: str, value: Any) -> None:
        kept[run_id] = value
        if len(kept) > REMEMBERED:
            kept.popitem(last=False)
