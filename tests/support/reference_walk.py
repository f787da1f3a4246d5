"""Naive walk of a plan: the reference implementation that the machine is compared with.

Written from the rules alone, mutable and slow on purpose. It shares with the machine only the plan
and the type of an outcome. ``World`` is the environment of both: it determines how each execution
ends and what each condition evaluates to.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.core.outcome import Outcome, StepError
from worker.core.plan import Plan
from worker.workflow.model import Edge, EdgeKind, Step, StepKind

State = dict[str, Any] | None

FAILED = {"JobError", "TypeError", "RangeError"}
CRASHED = {
    "SyntaxError",
    "ReferenceError",
    "ValidationError",
    "EdgeConditionError",
    "ExecutionError",
}
KILLED = {
    "SecurityError",
    "ImportError",
    "OomError",
    "TimeoutError",
    "StateTooLargeError",
    "StepLimitError",
}


@dataclass(frozen=True, kw_only=True)
class World:
    """Scripted behaviour: the n-th entry is for the n-th execution of the step, and they repeat.

    ``executions`` (by step): an error type, or ``success``, ``nothing`` (returns no state),
    ``drops errors`` (returns state without errors), ``sets error`` (succeeds, and sets its own
    entry in ``state.errors``).
    ``conditions`` (by step and index of the edge): ``true``, ``false``, ``throws``, ``assigns``
    (writes to the state, then is true), ``clears error`` (removes the step's error, then is true).
    """

    executions: Mapping[str, Sequence[str]]
    conditions: Mapping[tuple[str, int], Sequence[str]]

    def run(self, step: str, execution: int, input: State) -> Outcome:
        behaviour = self.executions[step][execution % len(self.executions[step])]
        state = copy.deepcopy(input) or {}
        error = None
        if behaviour == "nothing":
            return Outcome(state=None)
        if behaviour == "drops errors":
            state.pop("errors", None)
        elif behaviour != "success":
            state["errors"] = {**state.get("errors", {}), step: behaviour}
        if behaviour not in ("success", "drops errors", "sets error"):
            error = StepError(type=behaviour, message=f"{step} #{execution}", job_id=step)
        else:
            state["trail"] = [*state.get("trail", []), step]
        return Outcome(state=state, errored=has_errored(state, step), error=error)

    def evaluate(
        self, step: str, edge_index: int, execution: int, state: State
    ) -> tuple[str, State]:
        """Return what a condition evaluates to, and the state after it."""
        results = self.conditions[step, edge_index]
        result = results[execution % len(results)]
        if state is None or result not in ("assigns", "clears error"):
            return result, state
        changed = copy.deepcopy(state)
        if result == "assigns":
            changed["marks"] = [*changed.get("marks", []), f"{step}.{edge_index}"]
        else:
            changed.get("errors", {}).pop(step, None)
        return result, changed

    @staticmethod
    def condition_error(step: str, edge_index: int) -> StepError:
        """Return the error of a condition that throws."""
        return StepError(type="EdgeConditionError", message=f"edge {edge_index} of {step} threw")


def has_errored(state: State, step: str) -> bool:
    """Return whether ``state.errors[step]`` is set, which success and failure edges depend on."""
    return step in ((state or {}).get("errors") or {})


@dataclass(frozen=True, kw_only=True)
class Execution:
    """One execution in a run's path."""

    step: str
    error: StepError | None
    state: State
    next: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class WalkResult:
    """Result of a run: its path, status, error and final state."""

    path: tuple[Execution, ...]
    status: str
    error: StepError | None
    final_state: Any


def reference_walk(plan: Plan, world: World, input: State) -> WalkResult:
    """Walk ``plan`` in ``world`` from an input state."""
    waiting: list[tuple[str, State, int]] = [(plan.start, input, -1)]
    executions: dict[str, int] = {}
    path: list[Execution] = []
    leaves: list[tuple[str, str, StepError | None, State]] = []
    # Executions that took an edge, and those of them that another execution followed.
    led: list[tuple[str, StepError | None]] = []
    followed: set[int] = set()
    while waiting:
        name, state, parent = waiting.pop(0)
        followed.add(parent)
        step = next(step for step in plan.steps if step.id == name)
        count = executions.get(name, 0)
        executions[name] = count + 1
        has_code = step.kind is StepKind.JOB and step.source != ""
        error: StepError | None = None
        if has_code:
            outcome = world.run(name, count, state)
            error, state = outcome.error, outcome.state
        taken: tuple[str, ...] = ()
        if error is None or error.type in FAILED:
            taken, state, thrown = _evaluate_edges(step, world, count, state)
            if thrown is not None:
                error = StepError(
                    type=thrown.type, message=thrown.message, job_id=name, cause=error
                )
                taken = ()
        if has_code:
            path.append(Execution(step=name, error=error, state=state, next=taken))
        if error is not None and error.type not in FAILED:
            return WalkResult(
                path=tuple(path), status=_status(error.type), error=error, final_state=None
            )
        if name == plan.end or not taken:
            leaves.append((name, name if count == 0 else f"{name}-{count}", error, state))
        if name == plan.end:
            break
        waiting += [(target, state, len(led)) for target in taken]
        led.append((name, error))
    # Where the end has kept all targets from running, the execution led to no other one.
    stranded = [
        each for number, each in enumerate(led)
        if number not in followed and any(parent == number for _, _, parent in waiting)
    ]  # fmt: skip
    return _walk_result(plan, path, leaves, stranded)


def _evaluate_edges(
    step: Step, world: World, count: int, state: State
) -> tuple[tuple[str, ...], State, StepError | None]:
    taken: list[str] = []
    for edge_index, edge in enumerate(step.edges):
        if edge.disabled:
            continue
        if edge.kind is EdgeKind.EXPRESSION:
            result, state = world.evaluate(step.id, edge_index, count, state)
            if result == "throws":
                return (), state, world.condition_error(step.id, edge_index)
            if result != "false":
                taken.append(edge.target)
        elif _is_taken(edge, has_errored(state, step.id)):
            taken.append(edge.target)
    return tuple(taken), state, None


def _is_taken(edge: Edge, errored: bool) -> bool:
    return {
        EdgeKind.ALWAYS: True,
        EdgeKind.NEVER: False,
        EdgeKind.SUCCESS: not errored,
        EdgeKind.FAILURE: errored,
    }[edge.kind]


def _walk_result(
    plan: Plan,
    path: list[Execution],
    leaves: list[tuple[str, str, StepError | None, State]],
    stranded: list[tuple[str, StepError | None]],
) -> WalkResult:
    error = None
    ends = [(name, leaf_error) for name, _, leaf_error, _ in leaves] + stranded
    for step in plan.steps:
        for name, leaf_error in ends:
            if name == step.id and leaf_error is not None and error is None:
                error = leaf_error
    states = {key: state for _, key, _, state in leaves if state is not None}
    final: Any = states
    if len(states) < 2:
        final = next(iter(states.values()), None)
    status = "success" if error is None else "failed"
    return WalkResult(path=tuple(path), status=status, error=error, final_state=final)


def _status(error_type: str) -> str:
    if error_type in CRASHED:
        return "crashed"
    if error_type in KILLED:
        return "killed"
    if error_type.startswith("LostAfter"):
        return "lost"
    return "cancelled" if error_type == "CancelledError" else "exception"
