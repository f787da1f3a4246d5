"""Executions of a run, assembled from its events, with the execution before each and the logs."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from worker.core.events import AnyEvent, RunLog, StepComplete, StepStart
from worker.core.execution import executions
from worker.core.status import STATUS_OF_REASON, Status
from worker.sinks.terminal_text import format_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedExecution:
    """Execution of a step.

    ``complete`` is None where the events stop before it ended. ``upstream`` is the index of the
    execution whose output it received, or None for the input of the run. ``spent`` is in
    microseconds; with ``open`` the duration was at least that.
    """

    started: StepStart
    complete: StepComplete | None
    upstream: int | None
    spent: int
    open: bool

    @property
    def step(self) -> str:
        return self.started.job_id

    @property
    def status(self) -> Status:
        return STATUS_OF_REASON[self.complete.reason] if self.complete else Status.RUNNING

    @property
    def took(self) -> str:
        return f"{'≥ ' if self.open else ''}{format_duration(self.spent)}"

    @property
    def next(self) -> tuple[str, ...]:
        return self.complete.next if self.complete else ()


def executions_of(
    events: Sequence[AnyEvent], *, has_frozen_clock: bool = False
) -> tuple[ReportedExecution, ...]:
    """Pair starts with ends, in the order of the starts.

    With ``has_frozen_clock`` the clock of the run did not advance while steps computed: the
    duration of a step is measured up to the start of the next.
    """
    runs = executions(events)
    came = _Upstream()
    reported: list[ReportedExecution] = []
    for number, run in enumerate(runs):
        start, complete = run.start, run.complete
        following = runs[number + 1].start if number + 1 < len(runs) else None
        if complete is None:
            spent = events[-1].timestamp - start.timestamp
        elif has_frozen_clock and following is not None:
            spent = following.timestamp - start.timestamp
        else:
            spent = complete.duration
        reported.append(
            ReportedExecution(
                started=start,
                complete=complete,
                upstream=came.take(start),
                spent=max(0, spent),
                open=complete is None or (has_frozen_clock and following is None),
            )
        )
        if complete is not None:
            came.put(number, complete)
    return tuple(reported)


class _Upstream:
    """Finds the execution before each.

    It is the execution whose output the step received, else the first whose edges selected the step
    and that no other execution followed.
    """

    def __init__(self) -> None:
        self._outputs: dict[str, int] = {}
        self._selected: dict[str, deque[int]] = defaultdict(deque)

    def put(self, number: int, complete: StepComplete) -> None:
        if complete.output_dataclip_id is not None:
            self._outputs.setdefault(complete.output_dataclip_id, number)
        for target in complete.next:
            self._selected[target].append(number)

    def take(self, start: StepStart) -> int | None:
        # A step that returned nothing has no dataclip id: its edges are all that is known.
        waiting = self._selected[start.job_id]
        named = self._outputs.get(start.input_dataclip_id)
        if named is None:
            return waiting.popleft() if waiting else None
        if named in waiting:
            waiting.remove(named)
        return named


def places_of(executions: Sequence[ReportedExecution]) -> dict[str, int]:
    """Index the executions by their step_id."""
    return {execution.started.step_id: number for number, execution in enumerate(executions)}


def logs_of(events: Sequence[AnyEvent]) -> tuple[RunLog, ...]:
    return tuple(event for event in events if isinstance(event, RunLog))
