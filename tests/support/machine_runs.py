"""Runs of the machine in a world, and random plans and worlds to run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support.reference_walk import (
    Execution,
    State,
    WalkResult,
    World,
    has_errored,
)
from worker.core.machine import (
    MAX_EXECUTIONS,
    CompleteRun,
    CompleteStep,
    EdgesEvaluated,
    Effect,
    EvaluateEdges,
    MachineEvent,
    MachineState,
    Started,
    StartStep,
    StepFinished,
    decide,
    initial_state,
)
from worker.core.plan import Plan
from worker.core.status import ERROR_TYPES
from worker.workflow.model import Edge, EdgeKind, Step, StepKind

# --- driving the machine ------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Driven:
    """A driven run: every event, and the effects that it caused."""

    events: tuple[MachineEvent, ...]
    batches: tuple[tuple[Effect, ...], ...]

    @property
    def effects(self) -> tuple[Effect, ...]:
        return tuple(effect for batch in self.batches for effect in batch)

    @property
    def completion(self) -> CompleteRun:
        return next(effect for effect in self.effects if isinstance(effect, CompleteRun))

    @property
    def started(self) -> list[str]:
        return [effect.step.id for effect in self.effects if isinstance(effect, StartStep)]

    @property
    def completed(self) -> list[CompleteStep]:
        return [effect for effect in self.effects if isinstance(effect, CompleteStep)]


Decide = Callable[[MachineState, MachineEvent], tuple[MachineState, tuple[Effect, ...]]]


def drive(
    plan: Plan,
    world: World,
    input: State,
    decide: Decide = decide,
    max_executions: int = MAX_EXECUTIONS,
) -> Driven:
    """Perform every effect in ``world`` until the run is complete."""
    state = initial_state(plan, max_executions)
    events: list[MachineEvent] = []
    batches: list[tuple[Effect, ...]] = []
    execution = 0
    event: MachineEvent | None = Started(input=input)
    while event is not None:
        events.append(event)
        state, effects = decide(state, event)
        batches.append(effects)
        match effects[-1]:
            case StartStep(step=step, input=step_input, execution=execution):
                event = StepFinished(outcome=world.run(step.id, execution, step_input))
            case EvaluateEdges() as effect:
                event = evaluate_edges(world, effect, execution_of(effect, batches, execution))
            case _:
                event = None
    return Driven(events=tuple(events), batches=tuple(batches))


def execution_of(effect: EvaluateEdges, batches: Sequence[Sequence[Effect]], execution: int) -> int:
    """Return the execution whose edges are evaluated. Steps without code cause no StartStep."""
    if effect.step.runs_code:
        return execution
    earlier = [effect for batch in batches[:-1] for effect in batch]
    evaluated = [effect for effect in earlier if isinstance(effect, EvaluateEdges)]
    return sum(other.step.id == effect.step.id for other in evaluated)


def evaluate_edges(world: World, effect: EvaluateEdges, execution: int) -> EdgesEvaluated:
    step, state = effect.step, effect.outcome.state
    taken: list[bool] = []
    for edge in effect.edges:
        errored = has_errored(state, step.id)
        match edge.kind:
            case EdgeKind.EXPRESSION:
                edge_index = int(edge.label)
                result, state = world.evaluate(step.id, edge_index, execution, state)
                if result == "throws":
                    error = world.condition_error(step.id, edge_index)
                    return EdgesEvaluated(taken=tuple(taken), state=state, error=error)
                taken.append(result != "false")
            case EdgeKind.SUCCESS:
                taken.append(not errored)
            case EdgeKind.FAILURE:
                taken.append(errored)
            case _:
                taken.append(True)
    return EdgesEvaluated(taken=tuple(taken), state=state)


def walk_result(driven: Driven) -> WalkResult:
    """Return a driven run in the terms of the reference."""
    run, states = driven.completion, driven.completion.final_states
    return WalkResult(
        path=tuple(
            Execution(
                step=done.step.id,
                error=done.outcome.error,
                state=done.outcome.state,
                next=done.next,
            )
            for done in driven.completed
        ),
        status=run.status.value,
        error=run.error,
        final_state=states if len(states) > 1 else next(iter(states.values()), None),
    )


# --- random workflows in random worlds ----------------------------------------------------------

EXECUTIONS = ("success", "success", "success", "nothing", "drops errors", "sets error")
ERRORS = ("JobError", "TypeError", "RangeError", *ERROR_TYPES, "SomethingUnforeseen")
CONDITIONS = ("true", "true", "true", "false", "assigns", "clears error", "throws")
KINDS = (EdgeKind.ALWAYS, EdgeKind.ALWAYS, EdgeKind.EXPRESSION, *EdgeKind)


def plan_of(*steps: Step, start: str = "", end: str = "") -> Plan:
    index = {step.id: place for place, step in enumerate(steps)}
    return Plan(name="test", steps=steps, start=start or steps[0].id, end=end, index=index)


def job(id: str, *edges: Edge, source: str = "fn(s => s)") -> Step:
    return Step(id=id, source=source, edges=tuple(replace(edge, source=id) for edge in edges))


def to(target: str, kind: EdgeKind = EdgeKind.ALWAYS, *, index: int = 0) -> Edge:
    """Return an edge whose label is its index, by which a ``World`` identifies its condition."""
    return Edge(source="", target=target, kind=kind, label=str(index))


@st.composite
def steps_in_order(draw: st.DrawFn) -> list[Step]:
    """Draw a small acyclic graph in topological order; few edges, because joins multiply."""
    names = [f"s{n}" for n in range(draw(st.integers(1, 6)))]
    steps = []
    for at, name in enumerate(names):
        later = names[at + 1 :]
        targets = draw(st.lists(st.sampled_from(later), max_size=3)) if later else []
        edges = tuple(
            Edge(
                source=name,
                target=target,
                kind=draw(st.sampled_from(KINDS)),
                label=str(index),
                disabled=draw(st.sampled_from((False, False, False, True))),
            )
            for index, target in enumerate(targets)
        )
        kind = draw(st.sampled_from((StepKind.JOB, StepKind.JOB, StepKind.JOB, StepKind.TRIGGER)))
        source = draw(st.sampled_from(("code", "code", "code", "")))
        steps.append(Step(id=name, kind=kind, source=source, edges=edges))
    return steps


@st.composite
def runs(draw: st.DrawFn) -> tuple[Plan, World]:
    """Draw a plan, in any order and with any ``start`` and ``end``, and a world to run it in."""
    ordered = draw(steps_in_order())
    names = [step.id for step in ordered]
    plan = plan_of(
        *draw(st.permutations(ordered)),
        start=draw(st.one_of(st.just(names[0]), st.sampled_from(names))),
        end=draw(st.one_of(st.just(""), st.sampled_from([*names, "nobody"]))),
    )
    regular = st.sampled_from(EXECUTIONS)
    executions = st.lists(
        st.one_of(regular, regular, st.sampled_from(ERRORS)), min_size=1, max_size=3
    )
    results = st.lists(st.sampled_from(CONDITIONS), min_size=1, max_size=3)
    world = World(
        executions={name: draw(executions) for name in names},
        conditions={
            (step.id, index): draw(results) for step in ordered for index in range(len(step.edges))
        },
    )
    return plan, world
