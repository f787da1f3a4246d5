"""Filters of topic triggers, evaluated in processes of the sandbox and never in this one."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from worker.errors import WorkerError
from worker.fleet.control.store.deployments import LiveTrigger
from worker.fleet.messaging.trigger_messages import MqttTrigger
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

    Its methods block: call them from a thread without an event loop, one at a time.
    """

    def __init__(self) -> None:
        self._evaluators: OrderedDict[tuple[str, str], RestartingEvaluator] = OrderedDict()

    def evaluate(self, trigger: LiveTrigger, states: list[str]) -> list[FilterResult]:
        """Evaluate a trigger's filter over inputs, which are JSON."""
        assert isinstance(trigger.definition, MqttTrigger)
        expression = trigger.definition.filter
        evaluator = self._evaluator(trigger.id, expression)
        return [_evaluate(evaluator, state) for state in states]

    def _evaluator(self, id: str, expression: str) -> RestartingEvaluator:
        key = id, expression
        if key not in self._evaluators:
            self._evaluators[key] = RestartingEvaluator(_workflow(expression), Options())
        self._evaluators.move_to_end(key)
        while len(self._evaluators) > MAX_PROCESSES:
            self._evaluators.popitem(last=False)[1].close()
        return self._evaluators[key]

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
