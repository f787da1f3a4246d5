"""Filters of topic triggers, evaluated in processes of the sandbox and never in this one."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from worker.errors import WorkerError
from worker.runner.prepare import Options
from worker.runner.restarting_evaluator import RestartingEvaluator
from worker.workflow.model import Edge, EdgeKind, Step, StepKind, Workflow

TIME_LIMIT_S = 0.1
MAX_PROCESSES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterResult:
    """The result of a filter: whether the message passes, or why that is unknown."""

    passes: bool = False
    error: str = ""


class FilterEvaluators:
    """Evaluators of filters, each with a process that starts with its first message.

    Its methods block: call them from threads without an event loop, for one filter from one thread
    at a time, and for no more than ``MAX_PROCESSES`` filters.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._evaluators: OrderedDict[tuple[str, str], RestartingEvaluator] = OrderedDict()
        self._in_use = Counter[tuple[str, str]]()

    def evaluate(self, trigger_id: str, expression: str, state: str) -> FilterResult:
        """Evaluate the filter of a trigger over an input, which is JSON."""
        with self._evaluator((trigger_id, expression)) as evaluator:
            return _evaluate(evaluator, state)

    @contextmanager
    def _evaluator(self, key: tuple[str, str]) -> Iterator[RestartingEvaluator]:
        with self._lock:
            if key not in self._evaluators:
                self._evaluators[key] = RestartingEvaluator(_workflow(key[1]), Options())
            self._evaluators.move_to_end(key)
            self._in_use[key] += 1
            evaluator, surplus = self._evaluators[key], self._take_surplus()
        for each in surplus:
            each.close()
        try:
            yield evaluator
        finally:
            with self._lock:
                self._in_use -= Counter({key: 1})

    def _take_surplus(self) -> list[RestartingEvaluator]:
        """Remove the evaluators that were not used for longest, above the number of processes."""
        idle = [key for key in self._evaluators if not self._in_use[key]]
        surplus = idle[: max(0, len(self._evaluators) - MAX_PROCESSES)]
        return [self._evaluators.pop(key) for key in surplus]

    def close(self) -> None:
        """End all processes."""
        for evaluator in self._evaluators.values():
            evaluator.close()
        self._evaluators.clear()


def _workflow(expression: str) -> Workflow:
    """Build a workflow whose only edge has the filter as its condition."""
    edge = Edge(source="filter", target="job", kind=EdgeKind.EXPRESSION, expression=expression)
    filter = Step(id="filter", kind=StepKind.TRIGGER, trigger_type="mqtt", edges=(edge,))
    return Workflow(name="filter", steps=(filter, Step(id="job", source="fn(s => s)")))


def _evaluate(evaluator: RestartingEvaluator, state: str) -> FilterResult:
    try:
        result = evaluator.evaluate("filter", state, cpu_s=TIME_LIMIT_S)
    except WorkerError as error:
        return FilterResult(error=str(error)[:500])
    if result.error is None:
        return FilterResult(passes=result.taken[0])
    if result.error.type == "TimeoutError":
        return FilterResult(error=f"the filter took longer than {TIME_LIMIT_S * 1000:.0f} ms")
    message = result.error.message.replace("the condition of filter->job", "the filter")
    return FilterResult(error=message[:500])
