"""Laws of a run's events, whoever has written them.

1. The events are of one run, numbered from 0 without a gap, and time does not go back.
2. The first event is the only ``run:start``, the last one the only ``run:complete``.
3. Steps are executed one at a time. Each ``step:complete`` belongs to the ``step:start`` before it,
   and a step's executions are counted from 0. A log line names the open step, or none.
4. An execution follows from the start of the run or from an edge that an earlier one has followed.
   Its input is the run's, or an output that an earlier execution has left.
5. An error belongs to its reason, by the table of statuses. A success has no error.
6. A crash, a kill, a cancellation, an exception and a loss end the run: no step starts after them,
   and the run ends for the same reason.
7. A run succeeds if every leaf did. Otherwise it has failed, with the error of a failing leaf. A
   leaf is an execution that no other one followed from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from worker.core.events import AnyEvent, RunComplete, RunLog, RunStart, StepComplete, StepStart
from worker.core.outcome import StepError
from worker.core.status import STATUS_OF_REASON, Status, status_of

ENDS_A_RUN = frozenset({"crash", "kill", "cancel", "exception", "lost"})
# The worker itself writes this entry where the process of a run is gone in the middle of a step.
_FROM_OUTSIDE = frozenset({"cancel", "exception", "lost", "kill", "crash"})


@dataclass(frozen=True, slots=True)
class Breach:
    """Event that breaks a law: its index in the log, the number of the law, and the reason."""

    index: int
    law: int
    message: str


def first_breach(events: Sequence[AnyEvent]) -> Breach | None:
    """Return the first breach of a run's log, or ``None``."""
    auditor = Auditor(codeless=_codeless(events))
    for index, event in enumerate(events):
        for law, message in auditor.breaches(event):
            return Breach(index, law, message)
    if auditor.ended is None:
        return Breach(len(events), 2, "the log ends before its run does")
    return None


def _codeless(events: Sequence[AnyEvent]) -> frozenset[str]:
    """Return the steps that an edge led to and that have no events.

    They may pass their state on without code, as triggers do.
    """
    started = {event.job_id for event in events if isinstance(event, StepStart)}
    targets = (event.next for event in events if isinstance(event, StepComplete))
    return frozenset(step for next in targets for step in next if step not in started)


@dataclass(slots=True)
class Auditor:
    """State of a run so far, as far as the laws need it."""

    codeless: frozenset[str] = frozenset()
    run_id: str = ""
    next_seq: int = 0
    last_us: int = 0
    open: StepStart | None = None
    ended: RunComplete | None = None
    executions: Counter[str] = field(default_factory=Counter)
    # Targets of followed edges that have not started yet.
    pending: Counter[str] = field(default_factory=Counter)
    run_input: str = ""
    outputs: set[str | None] = field(default_factory=set)
    aborted: StepComplete | None = None
    completed: list[StepComplete] = field(default_factory=list)

    def breaches(self, event: AnyEvent) -> Iterator[tuple[int, str]]:
        """Yield each law that the next event breaks, and take the event."""
        yield from self._order(event)
        match event:
            case RunStart():
                pass
            case StepStart():
                yield from self._start_step(event)
            case RunLog():
                yield from self._log(event)
            case StepComplete():
                yield from self._complete_step(event)
            case RunComplete():
                yield from self._complete_run(event)

    def _order(self, event: AnyEvent) -> Iterator[tuple[int, str]]:
        first = self.next_seq == 0
        self.run_id = self.run_id or event.run_id
        if event.run_id != self.run_id:
            yield 1, f"it is of the run {event.run_id}, expected {self.run_id}"
        if event.seq != self.next_seq:
            yield 1, f"it has the number {event.seq}, expected {self.next_seq}"
        if event.timestamp < self.last_us:
            yield 1, f"its time is {self.last_us - event.timestamp} us before the event before it"
        # A run that ends before it starts has no start: it was cancelled, or its plan is invalid.
        if first and not isinstance(event, RunStart | RunComplete):
            yield 2, f"the first event is {event.type}, expected run:start"
        if not first and isinstance(event, RunStart):
            yield 2, "the run starts a second time"
        if self.ended is not None:
            yield 2, "it comes after the run's end"
        self.next_seq, self.last_us = event.seq + 1, event.timestamp

    def _start_step(self, event: StepStart) -> Iterator[tuple[int, str]]:
        step = event.job_id
        if self.open is not None:
            yield 3, f"'{step}' starts while '{self.open.job_id}' is executed"
        if event.execution != self.executions[step]:
            yield (
                3,
                f"'{step}' has the execution {event.execution}, expected {self.executions[step]}",
            )
        if self.aborted is not None:
            yield 6, f"'{step}' starts after a {self.aborted.reason} of '{self.aborted.job_id}'"
        self.run_input = self.run_input or event.input_dataclip_id
        yield from self._follow_edge(event)
        self.open = event
        self.executions[step] += 1

    def _follow_edge(self, event: StepStart) -> Iterator[tuple[int, str]]:
        through_codeless = any(self.pending[target] for target in self.codeless)
        # A trigger leads to several steps, each with the run's input.
        if self.pending[event.job_id]:
            self.pending[event.job_id] -= 1
        elif event.input_dataclip_id != self.run_input and not through_codeless:
            yield 4, f"no edge leads to '{event.job_id}'"
        # After a step that returned nothing, the next one starts from an empty state.
        known = event.input_dataclip_id in (self.run_input, *self.outputs)
        if not known and None not in self.outputs:
            yield 4, f"the input of '{event.job_id}' is not an output of an earlier step"

    def _log(self, event: RunLog) -> Iterator[tuple[int, str]]:
        if event.step_id and (self.open is None or event.step_id != self.open.step_id):
            yield 3, f"the line is of '{event.job_id}', which is not executed"

    def _complete_step(self, event: StepComplete) -> Iterator[tuple[int, str]]:
        if self.open is None or event.step_id != self.open.step_id:
            yield 3, f"'{event.job_id}' completes, and has not started"
        elif event.job_id != self.open.job_id:
            yield 3, f"'{event.job_id}' completes, expected '{self.open.job_id}'"
        yield from _error(event)
        if event.reason in ENDS_A_RUN:
            self.aborted = event
            if event.next:
                yield 6, f"'{event.job_id}' leads on after a {event.reason}"
        self.open = None
        self.completed.append(event)
        self.pending.update(event.next)
        self.outputs.add(event.output_dataclip_id)

    def _complete_run(self, event: RunComplete) -> Iterator[tuple[int, str]]:
        if self.open is not None:
            yield 3, f"the run ends while '{self.open.job_id}' is executed"
        yield from _error(event)
        if self.aborted is not None and event.reason != self.aborted.reason:
            yield 6, f"the run ends as {event.reason}, expected {self.aborted.reason}"
        # An end from outside, such as a cancellation between two steps, has no leaves.
        if event.reason not in _FROM_OUTSIDE:
            yield from self._leaves(event)
        self.ended = event

    def _leaves(self, event: RunComplete) -> Iterator[tuple[int, str]]:
        possible = [pair for pair in self._leaf_executions() if pair[0].error is not None]
        failed = [step for step, is_certain in possible if is_certain]
        if event.reason == "success" and failed:
            yield 7, f"the run succeeds, and the leaf '{failed[0].job_id}' has failed"
        if event.reason == "fail":
            if not possible:
                yield 7, "the run has failed, and no leaf has"
            elif not any(_same_error(step.error, event.error) for step, _ in possible):
                yield 7, "the error of the run is not that of a leaf that failed"

    def _leaf_executions(self) -> Iterator[tuple[StepComplete, bool]]:
        """Yield the executions that no other one followed from, and whether that is certain.

        It is not where a target may have no code, or was not reached before the run's end.
        """
        # From the end: those that still wait were queued last.
        waiting = Counter(self.pending)
        for step in reversed(self.completed):
            left = Counter(target for target in step.next if target not in self.codeless)
            executed = left - waiting
            waiting -= left
            if not executed:
                yield step, not any(target in self.codeless for target in step.next)


def _error(event: StepComplete | RunComplete) -> Iterator[tuple[int, str]]:
    status = STATUS_OF_REASON[event.reason]
    if event.error is None:
        if status is not Status.SUCCESS:
            yield 5, f"it ends as {event.reason} without an error"
    elif status_of(event.error.type) is not status:
        expected = status_of(event.error.type).value
        yield 5, f"it ends as {event.reason} with a {event.error.type}, which means {expected}"


def _same_error(first: StepError | None, second: StepError | None) -> bool:
    return first is not None and second is not None and first.type == second.type
