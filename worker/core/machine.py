"""State machine of a run: ``decide(state, event) -> (state, effects)``, without I/O or time.

The rules, all of them:

1. A run walks the plan breadth-first and serially: a FIFO queue of activations, one at a time.
2. An activation is a step with an input. A step that runs code is executed; a trigger, or a job
   without code, passes its input on and emits nothing.
3. After an execution that succeeded or failed, its edges are evaluated in the order in which they
   are written, and every edge that is taken queues one activation of its target. A join neither
   waits nor merges: its target runs once per activation.
4. An execution that queued nothing is a leaf, and so is the step that ``end`` names; after the
   latter the run ends even with activations queued.
5. ``failed`` never ends the run by itself: edges decide. Any other error aborts: no edge is
   evaluated, nothing more runs.
6. A condition that throws crashes the step that it leaves (EdgeConditionError; its limits kill
   it as they would a step), with the step's own error as the cause, and so the run.
7. The run succeeds when every leaf succeeded, and every execution whose targets ``end`` kept from
   running. Otherwise the first that failed, in plan order, gives it its error. The final state is
   the leaf's bare state, or a map by leaf key where there are several; a leaf that returned nothing
   is dropped.
8. Exactly one ``CompleteRun``, always last.
9. A run that has used up its activations, and needs another, is killed (StepLimitError): a chain
   of diamonds has exponentially many. Steps without code count too.

A driver performs the effects. Only the last effect of a decision waits for an answer
(``StartStep`` or ``EvaluateEdges``), which the driver feeds back as the next event. A step's state
is opaque to the machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from itertools import compress
from typing import Any, Final, assert_never

from msgspec import Struct
from msgspec.structs import replace

from worker.core.outcome import Outcome, StepError
from worker.core.persistent import Counts, LinkedList, Queue, iterate
from worker.core.plan import Plan
from worker.core.status import Status, status_of
from worker.workflow.model import Edge, EdgeKind, Step

MAX_EXECUTIONS = 250_000
"""How often a run may execute steps, unless its limits set another number."""

# --- events ---------------------------------------------------------------------------------


class Started(Struct, frozen=True, kw_only=True):
    """The run begins, with its input (opaque)."""

    input: Any


class StartFailed(Struct, frozen=True, kw_only=True):
    """The plan cannot run at all: nothing is executed."""

    error: StepError


class StepFinished(Struct, frozen=True, kw_only=True):
    """Answer to :class:`StartStep`."""

    outcome: Outcome


class EdgesEvaluated(Struct, frozen=True, kw_only=True):
    """Answer to :class:`EvaluateEdges`: per edge, in order, whether it is taken.

    A condition that threw ends the list with its ``error``. ``state`` is the state after the
    conditions ran: their assignments are passed on.
    """

    taken: tuple[bool, ...]
    state: Any
    error: StepError | None = None


MachineEvent = Started | StartFailed | StepFinished | EdgesEvaluated

# --- effects --------------------------------------------------------------------------------


class StartStep(Struct, frozen=True, kw_only=True):
    """Execute a step. ``execution`` counts the step's executions in this run from 0."""

    step: Step
    input: Any
    execution: int


class EvaluateEdges(Struct, frozen=True, kw_only=True):
    """Evaluate the conditions of these edges over the step's output."""

    step: Step
    edges: tuple[Edge, ...]
    outcome: Outcome


class CompleteStep(Struct, frozen=True, kw_only=True):
    """Report the execution that ran last. ``next`` are the targets of the edges taken."""

    step: Step
    outcome: Outcome
    next: tuple[str, ...]


class Leaf(Struct, frozen=True, kw_only=True):
    """An execution that led to no other; ``key`` is ``x``, then ``x-1``, ``x-2``."""

    step: str
    key: str
    outcome: Outcome


class CompleteRun(Struct, frozen=True, kw_only=True):
    """Report the run. ``leaves`` are in order of execution, and empty after an abort."""

    status: Status
    error: StepError | None
    leaves: tuple[Leaf, ...] = ()

    @property
    def final_states(self) -> dict[str, Any]:
        """States by leaf key, without the leaves that returned nothing."""
        states = ((leaf.key, leaf.outcome.state) for leaf in self.leaves)
        return {key: state for key, state in states if state is not None}


Effect = StartStep | EvaluateEdges | CompleteStep | CompleteRun

# --- phases ---------------------------------------------------------------------------------


class Phase(StrEnum):
    """What a run waits for."""

    NOT_STARTED = "not started"
    EXECUTING_STEP = "executing a step"
    EVALUATING_EDGES = "evaluating edges"
    COMPLETED = "completed"


TRANSITIONS: Final[Mapping[Phase, Mapping[type[MachineEvent], tuple[Phase, ...]]]] = {
    Phase.NOT_STARTED: {
        Started: (Phase.EXECUTING_STEP,),
        StartFailed: (Phase.COMPLETED,),
    },
    Phase.EXECUTING_STEP: {
        StepFinished: (Phase.EVALUATING_EDGES, Phase.COMPLETED),
    },
    Phase.EVALUATING_EDGES: {
        EdgesEvaluated: (Phase.EXECUTING_STEP, Phase.COMPLETED),
    },
    Phase.COMPLETED: {},
}
"""Events that each phase accepts, and the phases that they can lead to."""


class IllegalEvent(Exception):
    """An event that its phase does not accept: a defect of the driver, never of a workflow."""


# --- state ----------------------------------------------------------------------------------


class Activation(Struct, frozen=True):
    """A step that waits in the queue, with its input.

    ``source`` is the execution that led to it, for the first target of that execution only.
    """

    step: str
    input: Any
    source: Leaf | None = None


# Compared by identity: to compare plans and queues by value costs more than any caller needs.
class MachineState(Struct, frozen=True, kw_only=True, eq=False):
    """State of a run: its phase, what waits, and the leaves so far (newest first).

    ``step`` is the step that is executed or whose edges are evaluated, and ``outcome`` its outcome
    while they are; both are ``None`` in the other phases.
    """

    plan: Plan
    phase: Phase = Phase.NOT_STARTED
    step: Step | None = None
    outcome: Outcome | None = None
    queue: Queue[Activation] = Queue()
    executions: Counts
    activations_left: int = MAX_EXECUTIONS
    leaves: LinkedList[Leaf] = None

    def __repr__(self) -> str:
        # Without the queue and the leaves, which can be as long as the run.
        return f"MachineState(phase={self.phase!r}, step={self.step!r}, outcome={self.outcome!r})"


Decision = tuple[MachineState, tuple[Effect, ...]]
Transition = tuple[MachineState, MachineEvent | None, tuple[Effect, ...]]
"""The state after an event, the event that follows from it without a driver, and the effects."""


def initial_state(plan: Plan, max_executions: int = MAX_EXECUTIONS) -> MachineState:
    """Create the state of a run that has not started; it is killed after ``max_executions``."""
    executions = Counts.of(len(plan.steps))
    return MachineState(plan=plan, executions=executions, activations_left=max_executions)


def decide(state: MachineState, event: MachineEvent) -> Decision:
    """Process an event: the new state, and the effects to perform in order.

    Raises :class:`IllegalEvent` where the phase does not accept the event.
    """
    effects: list[Effect] = []
    following: MachineEvent | None = event
    # A loop: recursion would exceed Python's limit on a chain of a thousand steps without code.
    while following is not None:
        state, following, caused = apply_event(state, following)
        effects += caused
    return state, tuple(effects)


def apply_event(state: MachineState, event: MachineEvent) -> Transition:
    """Make one transition. Raises :class:`IllegalEvent`."""
    if type(event) not in TRANSITIONS[state.phase]:
        raise IllegalEvent(f"{type(event).__name__} is not expected {_describe_phase(state)}")
    match event:
        case Started():
            queue = state.queue.push([Activation(state.plan.start, event.input)])
            return _advance(state, queue, ())
        case StartFailed():
            return _complete(state, event.error, ())
        case StepFinished():
            return _evaluate_edges(state, event.outcome)
        case EdgesEvaluated():
            return _take_edges(state, event)
        case _:
            assert_never(event)


def _describe_phase(state: MachineState) -> str:
    name = state.step.id if state.step else ""
    match state.phase:
        case Phase.NOT_STARTED:
            return "before the run started"
        case Phase.EXECUTING_STEP:
            return f"while step '{name}' runs"
        case Phase.EVALUATING_EDGES:
            return f"while the edges of step '{name}' are evaluated"
        case Phase.COMPLETED:
            return "after the run completed"


def _advance(
    state: MachineState, waiting: Queue[Activation], effects: tuple[Effect, ...]
) -> Transition:
    """Take the next activation, or end the run (rules 1 and 2)."""
    if not waiting:
        return _complete(state, None, effects)
    activation, queue = waiting.pop()
    if not state.activations_left:
        return _complete(state, _too_many(state.plan, activation.step), effects)
    index = state.plan.index[activation.step]
    step = state.plan.steps[index]
    execution = state.executions[index]
    state = replace(
        state,
        phase=Phase.EXECUTING_STEP,
        step=step,
        outcome=None,
        queue=queue,
        executions=state.executions.increment(index),
        activations_left=state.activations_left - 1,
    )
    if not step.runs_code:
        # Finished here, so that the driver gets only steps that it must execute.
        return state, StepFinished(outcome=Outcome(state=activation.input)), effects
    start = StartStep(step=step, input=activation.input, execution=execution)
    return state, None, (*effects, start)


def _too_many(plan: Plan, next_step: str) -> StepError:
    text = (
        f"the run has used up its limit of executions, and '{next_step}' would follow: where "
        f"paths of the workflow join, its {len(plan.steps):,} steps run once for each path"
    )
    return StepError(type="StepLimitError", message=text)


def _evaluate_edges(state: MachineState, outcome: Outcome) -> Transition:
    """End the run on an abort; otherwise have the edges evaluated (rules 3 and 5)."""
    step = _step(state)
    if outcome.error is not None and outcome.error.aborts:
        return _abort(state, step, outcome)
    state = replace(state, phase=Phase.EVALUATING_EDGES, outcome=outcome)
    edges = _open_edges(state, step)
    kinds = [edge.kind for edge in edges]
    if EdgeKind.EXPRESSION in kinds:
        return state, None, (EvaluateEdges(step=step, edges=edges, outcome=outcome),)
    # Without expressions the outcome decides: no driver, and so no process, is needed.
    taken = tuple([_is_taken(kind, errored=outcome.errored) for kind in kinds])
    return state, EdgesEvaluated(taken=taken, state=outcome.state), ()


def _open_edges(state: MachineState, step: Step) -> tuple[Edge, ...]:
    return state.plan.open_edges[state.plan.index[step.id]]


def _is_taken(kind: EdgeKind, *, errored: bool) -> bool:
    return kind is EdgeKind.ALWAYS or (kind is EdgeKind.FAILURE) == errored


def _take_edges(state: MachineState, result: EdgesEvaluated) -> Transition:
    """Complete the execution and queue the targets of the edges taken (rules 3, 4 and 6)."""
    step, outcome = _step(state), _outcome(state)
    step_error = outcome.error
    # Conditions may change the state; a copy is made only if they did.
    if result.state is not outcome.state:
        outcome = replace(outcome, state=result.state)
    if result.error is not None:
        error = replace(result.error, job_id=step.id, cause=step_error)
        return _abort(state, step, replace(outcome, error=error))
    targets = _targets(step, _open_edges(state, step), result.taken)
    effects: tuple[Effect, ...] = ()
    if step.runs_code:
        effects = (CompleteStep(step=step, outcome=outcome, next=targets),)
    ends_here, leaf = step.id == state.plan.end, _leaf(state, step, outcome)
    if ends_here or not targets:
        state = replace(state, leaves=(leaf, state.leaves))
    if ends_here:
        return _complete(state, None, effects)
    activations = [
        Activation(target, outcome.state, leaf if index == 0 else None)
        for index, target in enumerate(targets[: _room(state)])
    ]
    return _advance(state, state.queue.push(activations), effects)


def _room(state: MachineState) -> int:
    """Return how many targets of the execution to queue: the others could never run (rule 9)."""
    # One more than may run, as that one ends the run. The first always, as its source may give the
    # run its error (rule 7).
    return max(1, state.activations_left + 1 - len(state.queue))


def _targets(step: Step, edges: tuple[Edge, ...], taken: tuple[bool, ...]) -> tuple[str, ...]:
    # A wrong number of results is a defect of the driver: to guess would take wrong edges.
    if len(taken) != len(edges):
        counts = f"{len(taken)} results for the {len(edges)} edges"
        raise IllegalEvent(f"EdgesEvaluated has {counts} of step '{step.id}'")
    return tuple([edge.target for edge in compress(edges, taken)])


def _leaf(state: MachineState, step: Step, outcome: Outcome) -> Leaf:
    earlier = state.executions[state.plan.index[step.id]] - 1
    key = _repeated_key(state.plan, step.id, earlier) if earlier else step.id
    return Leaf(step=step.id, key=key, outcome=outcome)


def _repeated_key(plan: Plan, step_id: str, earlier: int) -> str:
    # A step may itself be named x-1: more dashes then keep the second leaf of x apart from it.
    dashes = "-"
    while (key := f"{step_id}{dashes}{earlier}") in plan.index:
        dashes += "-"
    return key


def _abort(state: MachineState, step: Step, outcome: Outcome) -> Transition:
    # A step without code emitted no start, so it must not emit an end either.
    if not step.runs_code:
        return _complete(state, outcome.error, ())
    return _complete(state, outcome.error, (CompleteStep(step=step, outcome=outcome, next=()),))


def _complete(
    state: MachineState, abort: StepError | None, effects: tuple[Effect, ...]
) -> Transition:
    """End the run (rules 7 and 8)."""
    # An abort leaves no final state: what earlier leaves returned is not the run's result.
    leaves = () if abort else tuple(iterate(state.leaves))[::-1]
    # Executions whose first target still waits have led to no other.
    stranded = [waiting.source for waiting in state.queue if waiting.source is not None]
    error = abort or _first_failure(state.plan, (*leaves, *stranded))
    status = Status.SUCCESS if error is None else status_of(error.type)
    state = replace(state, phase=Phase.COMPLETED, step=None, outcome=None, queue=Queue())
    return state, None, (*effects, CompleteRun(status=status, error=error, leaves=leaves))


def _first_failure(plan: Plan, leaves: tuple[Leaf, ...]) -> StepError | None:
    # min is stable: of two failures of one step, the first in order of execution counts.
    failed = [leaf for leaf in leaves if leaf.outcome.error is not None]
    first = min(failed, key=lambda leaf: plan.index[leaf.step], default=None)
    return first.outcome.error if first else None


def _step(state: MachineState) -> Step:
    assert state.step is not None, "a phase that accepts this event has a step"
    return state.step


def _outcome(state: MachineState) -> Outcome:
    assert state.outcome is not None, "edges are evaluated after an outcome"
    return state.outcome
