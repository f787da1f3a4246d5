"""The walk: a pure machine, ``decide(state, event) -> (state, effects)``.

The rules, all of them:

1. A run walks the plan breadth-first and serially: a FIFO queue of activations, one at a time.
2. An activation is a step with an input. A step that runs code is executed; a trigger, or a job
   without code, passes its input on and emits nothing.
3. After an execution that succeeded or failed, its edges are judged in the order in which they
   are written, and every edge that is followed queues one activation of its target. A join
   neither waits nor merges: its target runs once per activation.
4. An execution that queued nothing is a leaf, and so is the step that ``end`` names; after the
   latter the walk stops even with others queued.
5. ``failed`` never stops the walk by itself: edges decide. Any other error aborts: no edge is
   judged, nothing more runs.
6. A condition that throws crashes the step that it leaves (EdgeConditionError; its limits kill
   it as they would a step), with the step's own error as the cause, and so the run.
7. The run succeeds when every leaf succeeded. Otherwise the first failing leaf in plan order
   gives it its error. The final state is the leaf's bare state, or a map by leaf key where there
   are several; a leaf that returned nothing is dropped.
8. Exactly one ``CompleteRun``, always last.

How it works: a driver performs the one effect that waits for an answer (``StartStep`` or
``EvaluateEdges``, always last among the effects) and feeds the answer back as an event. The machine
does no I/O, knows no time, and never looks inside a step's state.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, assert_never

from worker.core.outcome import Outcome, StepError
from worker.core.persistent import Chain, Queue, Tally, iterate
from worker.core.plan import Plan
from worker.core.status import Status, status_of
from worker.workflow.model import Edge, EdgeKind, Step

# --- facts in -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The run begins, with its input (opaque)."""

    input: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFailed:
    """The plan cannot run at all: nothing is executed."""

    error: StepError


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFinished:
    """The answer to :class:`StartStep`."""

    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgesEvaluated:
    """The answer to :class:`EvaluateEdges`: a verdict per edge, in order.

    A condition that threw ends the list with its error. ``state`` is what the conditions left:
    what they assign travels on.
    """

    verdicts: tuple[bool, ...]
    state: Any
    error: StepError | None = None


MachineEvent = Started | StartFailed | StepFinished | EdgesEvaluated

# --- orders out -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StartStep:
    """Execute a step. ``execution`` counts the step's executions in this run from 0."""

    step: Step
    input: Any
    execution: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateEdges:
    """Evaluate the conditions of these edges over the step's output."""

    step: Step
    edges: tuple[Edge, ...]
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteStep:
    """Report the execution that ran last. ``next`` are the targets that its edges selected."""

    step: Step
    outcome: Outcome
    next: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """An execution that led to no other; ``key`` is ``x``, then ``x-1``, ``x-2``."""

    step: str
    key: str
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteRun:
    """Report the run. ``leaves`` are in order of execution, and empty after an abort."""

    status: Status
    error: StepError | None
    leaves: tuple[Leaf, ...] = ()

    @property
    def final_states(self) -> dict[str, Any]:
        """Leaf key to state, without the leaves that returned nothing. One: the bare state."""
        kept = (leaf for leaf in self.leaves if leaf.outcome.state is not None)
        return {leaf.key: leaf.outcome.state for leaf in kept}


Effect = StartStep | EvaluateEdges | CompleteStep | CompleteRun

# --- the state of a walk --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Activation:
    """A step that waits in the queue, with its input."""

    step: str
    input: Any


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Walk:
    """Where a run stands: what waits, what runs now, and the leaves so far (newest first)."""

    plan: Plan
    queue: Queue[Activation] = field(default=Queue(), repr=False)
    current: Step | None = None
    ran: Outcome | None = None
    executions: Tally = field(repr=False)
    leaves: Chain[Leaf] = field(default=None, repr=False)
    begun: bool = False
    completed: bool = False


Decision = tuple[Walk, tuple[Effect, ...]]


class IllegalEvent(Exception):
    """A fact that does not belong here: a defect of the driver, never of a workflow."""


def begin(plan: Plan) -> Walk:
    """The walk of a plan before its first fact."""
    return Walk(plan=plan, executions=Tally.of(len(plan.steps)))


def decide(walk: Walk, fact: MachineEvent) -> Decision:
    """What a fact means for a walk. Raises :class:`IllegalEvent` on one that is out of turn."""
    effects: list[Effect] = []
    following: MachineEvent | None = fact
    while following is not None:
        walk, following, orders = _consider(walk, following)
        effects += orders
    return walk, tuple(effects)


_Consequence = tuple[Walk, MachineEvent | None, tuple[Effect, ...]]
"""The walk after a fact, the fact that already follows from it (if no driver is needed to tell),
and the orders that it gives."""


def _consider(walk: Walk, fact: MachineEvent) -> _Consequence:
    if not _in_turn(walk, fact):
        raise IllegalEvent(f"{type(fact).__name__} out of turn")
    match fact:
        case Started():
            queue = walk.queue.push([Activation(walk.plan.start, fact.input)])
            return _advance(replace(walk, queue=queue, begun=True))
        case StartFailed():
            return _complete(walk, fact.error)
        case StepFinished():
            return _judge(walk, fact.outcome)
        case EdgesEvaluated():
            return _follow(walk, fact)
        case _:
            assert_never(fact)


def _in_turn(walk: Walk, fact: MachineEvent) -> bool:
    match fact:
        case Started() | StartFailed():
            return not walk.begun and not walk.completed
        case StepFinished():
            return walk.current is not None and walk.ran is None
        case EdgesEvaluated():
            return walk.ran is not None
        case _:
            assert_never(fact)


def _advance(walk: Walk, *orders: Effect) -> _Consequence:
    """Rules 1 and 2: take the next activation, or end the run."""
    if not walk.queue:
        return _complete(walk, None, *orders)
    activation, queue = walk.queue.pop()
    step = walk.plan.step(activation.step)
    index = walk.plan.index[step.id]
    execution = walk.executions[index]
    counted = walk.executions.increment(index)
    walk = replace(walk, queue=queue, current=step, ran=None, executions=counted)
    if not step.runs_code:
        return walk, StepFinished(outcome=Outcome(state=activation.input)), orders
    start = StartStep(step=step, input=activation.input, execution=execution)
    return walk, None, (*orders, start)


def _judge(walk: Walk, outcome: Outcome) -> _Consequence:
    """Rules 3 and 5: an abort ends the run; otherwise the edges are judged.

    Where no condition runs code, the verdicts follow from the outcome.
    """
    step = _current(walk)
    if outcome.error is not None and outcome.error.aborts:
        return _abort(walk, step, outcome)
    walk = replace(walk, ran=outcome)
    edges = step.open_edges
    if any(edge.kind is EdgeKind.EXPRESSION for edge in edges):
        return walk, None, (EvaluateEdges(step=step, edges=edges, outcome=outcome),)
    verdicts = tuple(_holds(edge.kind, errored=outcome.errored) for edge in edges)
    return walk, EdgesEvaluated(verdicts=verdicts, state=outcome.state), ()


def _holds(kind: EdgeKind, *, errored: bool) -> bool:
    return kind is EdgeKind.ALWAYS or (kind is EdgeKind.FAILURE) == errored


def _follow(walk: Walk, judged: EdgesEvaluated) -> _Consequence:
    """Rules 3, 4 and 6: complete the execution and queue what its edges selected."""
    step, ran = _current(walk), _ran(walk)
    outcome = ran if judged.state is ran.state else replace(ran, state=judged.state)
    if judged.error is not None:
        error = replace(judged.error, job_id=step.id, cause=ran.error)
        return _abort(walk, step, replace(outcome, error=error))
    edges = step.open_edges
    if len(judged.verdicts) != len(edges):
        raise IllegalEvent(f"{len(judged.verdicts)} verdicts on {len(edges)} edges")
    followed = tuple(e.target for e, holds in zip(edges, judged.verdicts, strict=True) if holds)
    orders: tuple[Effect, ...] = ()
    if step.runs_code:
        orders = (CompleteStep(step=step, outcome=outcome, next=followed),)
    ends_here = step.id == walk.plan.end
    if ends_here or not followed:
        walk = replace(walk, leaves=(_leaf(walk, step, outcome), walk.leaves))
    if ends_here:
        return _complete(walk, None, *orders)
    activations = (Activation(target, outcome.state) for target in followed)
    return _advance(replace(walk, queue=walk.queue.push(activations)), *orders)


def _leaf(walk: Walk, step: Step, outcome: Outcome) -> Leaf:
    earlier = walk.executions[walk.plan.index[step.id]] - 1
    key = _again(walk.plan, step.id, earlier) if earlier else step.id
    return Leaf(step=step.id, key=key, outcome=outcome)


def _again(plan: Plan, step_id: str, earlier: int) -> str:
    """``x-1`` for the second execution of ``x``; more dashes where a step has that very name."""
    dashes = "-"
    while (key := f"{step_id}{dashes}{earlier}") in plan.index:
        dashes += "-"
    return key


def _abort(walk: Walk, step: Step, outcome: Outcome) -> _Consequence:
    if not step.runs_code:
        return _complete(walk, outcome.error)
    return _complete(walk, outcome.error, CompleteStep(step=step, outcome=outcome, next=()))


def _complete(walk: Walk, abort: StepError | None, *orders: Effect) -> _Consequence:
    """Rules 7 and 8."""
    done = replace(walk, completed=True, current=None, ran=None, queue=Queue())
    leaves = () if abort else tuple(iterate(walk.leaves))[::-1]
    error = abort or _first_failure(walk.plan, leaves)
    status = Status.SUCCESS if error is None else status_of(error.type)
    return done, None, (*orders, CompleteRun(status=status, error=error, leaves=leaves))


def _first_failure(plan: Plan, leaves: tuple[Leaf, ...]) -> StepError | None:
    """The error of the first failing leaf in plan order, then in order of execution."""
    failed = [leaf for leaf in leaves if leaf.outcome.error is not None]
    first = min(failed, key=lambda leaf: plan.index[leaf.step], default=None)
    return first.outcome.error if first else None


def _current(walk: Walk) -> Step:
    assert walk.current is not None, "checked by _in_turn"
    return walk.current


def _ran(walk: Walk) -> Outcome:
    assert walk.ran is not None, "checked by _in_turn"
    return walk.ran
