"""A naive walk of a plan, to hold the machine against.

Written from the rules alone, mutable and slow on purpose, and free of what the machine is made of:
it shares with it nothing but the plan, and the shape of an outcome. ``World`` is what lies outside
of both: it says how each execution ends and what each condition answers.
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
KILLED = {"SecurityError", "ImportError", "OomError", "TimeoutError", "StateTooLargeError"}


@dataclass(frozen=True, kw_only=True)
class World:
    """Scripted answers: the n-th one is for the n-th execution of the step, and they repeat.

    ``deeds`` (by step): an error type, or ``success``, ``nothing`` (returns no state), ``forgets``
    (returns state without errors), ``confesses`` (succeeds, having set its own error by hand).
    ``verdicts`` (by step and place of the edge): ``yes``, ``no``, ``throws``, ``assigns`` (writes
    to the state, then holds), ``forgives`` (removes the step's error, then holds).
    """

    deeds: Mapping[str, Sequence[str]]
    verdicts: Mapping[tuple[str, int], Sequence[str]]

    def run(self, step: str, execution: int, received: State) -> Outcome:
        deed = self.deeds[step][execution % len(self.deeds[step])]
        state = copy.deepcopy(received) or {}
        error = None
        if deed == "nothing":
            return Outcome(state=None)
        if deed == "forgets":
            state.pop("errors", None)
        elif deed != "success":
            state["errors"] = {**state.get("errors", {}), step: deed}
        if deed not in ("success", "forgets", "confesses"):
            error = StepError(type=deed, message=f"{step} #{execution}", job_id=step)
        else:
            state["trail"] = [*state.get("trail", []), step]
        return Outcome(state=state, errored=has_errored(state, step), error=error)

    def ask(self, step: str, place: int, execution: int, state: State) -> tuple[str, State]:
        """What a condition says, and the state that it leaves."""
        answers = self.verdicts[step, place]
        verdict = answers[execution % len(answers)]
        if state is None or verdict not in ("assigns", "forgives"):
            return verdict, state
        left = copy.deepcopy(state)
        if verdict == "assigns":
            left["marks"] = [*left.get("marks", []), f"{step}.{place}"]
        else:
            left.get("errors", {}).pop(step, None)
        return verdict, left

    @staticmethod
    def complaint(step: str, place: int) -> StepError:
        """The error of a condition that throws."""
        return StepError(type="EdgeConditionError", message=f"edge {place} of {step} threw")


def has_errored(state: State, step: str) -> bool:
    """Whether ``state.errors[step]`` is set, which is what the success and failure edges ask."""
    return step in ((state or {}).get("errors") or {})


@dataclass(frozen=True, kw_only=True)
class Execution:
    """One line of a run's path."""

    step: str
    error: StepError | None
    state: State
    next: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Journey:
    """A whole run: its path, its status, its error and its final state."""

    path: tuple[Execution, ...]
    status: str
    error: StepError | None
    final_state: Any


def reference_walk(plan: Plan, world: World, received: State) -> Journey:
    """Walk ``plan`` in ``world`` and tell what happened."""
    waiting: list[tuple[str, State]] = [(plan.start, received)]
    executions: dict[str, int] = {}
    path: list[Execution] = []
    leaves: list[tuple[str, str, StepError | None, State]] = []
    while waiting:
        name, state = waiting.pop(0)
        step = next(step for step in plan.steps if step.id == name)
        count = executions.get(name, 0)
        executions[name] = count + 1
        has_code = step.kind is StepKind.JOB and step.source != ""
        error: StepError | None = None
        if has_code:
            outcome = world.run(name, count, state)
            error, state = outcome.error, outcome.state
        followed: tuple[str, ...] = ()
        if error is None or error.type in FAILED:
            followed, state, thrown = _judge(step, world, count, state)
            if thrown is not None:
                error = StepError(
                    type=thrown.type, message=thrown.message, job_id=name, cause=error
                )
                followed = ()
        if has_code:
            path.append(Execution(step=name, error=error, state=state, next=followed))
        if error is not None and error.type not in FAILED:
            return Journey(
                path=tuple(path), status=_status(error.type), error=error, final_state=None
            )
        if name == plan.end or not followed:
            leaves.append((name, name if count == 0 else f"{name}-{count}", error, state))
        if name == plan.end:
            break
        waiting += [(target, state) for target in followed]
    return _summarise(plan, path, leaves)


def _judge(
    step: Step, world: World, count: int, state: State
) -> tuple[tuple[str, ...], State, StepError | None]:
    followed: list[str] = []
    for place, edge in enumerate(step.edges):
        if edge.disabled:
            continue
        if edge.kind is EdgeKind.EXPRESSION:
            verdict, state = world.ask(step.id, place, count, state)
            if verdict == "throws":
                return (), state, world.complaint(step.id, place)
            if verdict != "no":
                followed.append(edge.target)
        elif _plain(edge, has_errored(state, step.id)):
            followed.append(edge.target)
    return tuple(followed), state, None


def _plain(edge: Edge, errored: bool) -> bool:
    return {
        EdgeKind.ALWAYS: True,
        EdgeKind.NEVER: False,
        EdgeKind.SUCCESS: not errored,
        EdgeKind.FAILURE: errored,
    }[edge.kind]


def _summarise(
    plan: Plan,
    path: list[Execution],
    leaves: list[tuple[str, str, StepError | None, State]],
) -> Journey:
    error = None
    for step in plan.steps:
        for name, _, leaf_error, _ in leaves:
            if name == step.id and leaf_error is not None and error is None:
                error = leaf_error
    states = {key: state for _, key, _, state in leaves if state is not None}
    final: Any = states
    if len(states) < 2:
        final = next(iter(states.values()), None)
    status = "success" if error is None else "failed"
    return Journey(path=tuple(path), status=status, error=error, final_state=final)


def _status(error_type: str) -> str:
    if error_type in CRASHED:
        return "crashed"
    if error_type in KILLED:
        return "killed"
    if error_type.startswith("LostAfter"):
        return "lost"
    return "cancelled" if error_type == "CancelledError" else "exception"
