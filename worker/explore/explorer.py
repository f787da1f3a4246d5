"""Explorer of a workflow: drives the machine through every outcome of steps and conditions.

The rules of pruning, all of them:

1. A step can succeed, fail, crash or be killed. Its conditions can have every combination of
   values that :mod:`worker.explore.state_search` finds a state for, or throw. Where the state is
   known from the input, they have the values that this state gives them.
2. A crash, a kill and a condition that throws end the run: nothing after them matters.
3. The edges of a step depend on how it ended, not on how the run came to it. So the table varies
   each step's outcomes once, where a run first comes to it, while the others go the default way
   (they succeed, and their conditions have the values that were found first).
4. Properties are checked over all combinations. Runs in the same situation (the same steps wait,
   the same has failed, the property is in the same state) have the same future, which is explored
   once.

Nothing here runs code: the caller passes the function that evaluates conditions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from worker.core.machine import (
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
from worker.core.outcome import Outcome, StepError, error_entry
from worker.core.persistent import LinkedList, in_order
from worker.core.plan import Plan
from worker.core.status import Status
from worker.explore.state_search import (
    Witness,
    find_witnesses,
    names_unknown,
    with_own_error,
    witnesses_of,
)
from worker.workflow.model import Edge, Step


class Ending(StrEnum):
    """End of an execution of a step; the value reads after the step's id."""

    SUCCEEDS = "succeeds"
    FAILS = "fails"
    CRASHES = "crashes"
    KILLED = "is killed"


# One error type for each ending is enough: all types of an ending lead a run the same way.
ERRORS = {Ending.FAILS: "JobError", Ending.CRASHES: "ReferenceError", Ending.KILLED: "OomError"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One decision of a run: the ending of an execution, or the results of its conditions.

    ``throws`` is the edge whose condition throws an error of ``error_type``. ``witness`` is a state
    that takes these edges; ``None`` where the input decides.
    """

    step: str
    ending: Ending | None = None
    edges: tuple[Edge, ...] = ()
    taken: tuple[bool, ...] = ()
    throws: Edge | None = None
    error_type: str = "EdgeConditionError"
    witness: str | None = None

    @property
    def aborts(self) -> bool:
        return self.throws is not None or self.ending in (Ending.CRASHES, Ending.KILLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExploredRun:
    """Run to its end: its choices, the executions that completed, its status and its error."""

    choices: tuple[Choice, ...]
    path: tuple[CompleteStep, ...]
    status: Status
    error_type: str | None

    @property
    def steps(self) -> tuple[str, ...]:
        return tuple(execution.step.id for execution in self.path)


class ExploredState(Struct, frozen=True, kw_only=True, eq=False):
    """Run so far; ``effect`` is the last one of the machine, which the next choice decides.

    Its choices, the executions that completed, and the steps whose failure another step followed
    are newest first. ``failed``: one of its leaves has an error.
    """

    # Shared with the runs that it continues: tuples of each run would take quadratic time.
    walk: MachineState
    effect: StartStep | EvaluateEdges | CompleteRun
    chosen: LinkedList[Choice] = None
    completed: LinkedList[CompleteStep] = None
    handled: LinkedList[str] = None
    failed: bool = False

    @property
    def choices(self) -> tuple[Choice, ...]:
        return in_order(self.chosen)

    @property
    def path(self) -> tuple[CompleteStep, ...]:
        return in_order(self.completed)

    @property
    def ended(self) -> bool:
        return isinstance(self.effect, CompleteRun)

    def run(self) -> ExploredRun:
        """Return the whole run. Call it only where the run has ended."""
        assert isinstance(self.effect, CompleteRun)
        error = self.effect.error.type if self.effect.error else None
        return ExploredRun(
            choices=self.choices, path=self.path, status=self.effect.status, error_type=error
        )


@functools.lru_cache(maxsize=10_000)
def _endings(step: str) -> list[Choice]:
    return [Choice(step=step, ending=ending) for ending in Ending]


Search = tuple[str, bool]
"""Search for states of a step, by its id: those after it failed, or after it succeeded."""

# Evaluates the open edges of a step (by id) over states, each JSON text.
EvaluateStates = Callable[[str, Sequence[str]], Sequence[EdgesEvaluated]]


@dataclass(slots=True)
class Explorer:
    """Explores the runs of a plan, from one choice to the next.

    ``input`` is JSON text, or ``None`` for any input. ``pruned`` collects a text for each value of
    a condition that no state was found for.
    """

    plan: Plan
    evaluate: EvaluateStates
    input: str | None = None
    # A dict for its order: each text once, in the order of the exploration.
    pruned: dict[str, None] = field(default_factory=dict)
    # A search runs conditions in the sandbox, which is slow. Those in `searched` are the results of
    # searches elsewhere, which may be of more than is reached here.
    searched: Mapping[Search, list[Witness]] = field(default_factory=dict)
    witnesses: dict[Search, list[Witness]] = field(default_factory=dict)
    # Many runs come to the same decision.
    _choices: dict[Search, list[Choice]] = field(default_factory=dict)
    # States that gave every combination of values, by the conditions: workflows repeat conditions.
    _states: dict[tuple[str, ...], list[str]] = field(default_factory=dict)

    def start(self) -> ExploredState:
        """Begin a run, up to its first choice."""
        walk, effects = decide(initial_state(self.plan), Started(input=self.input))
        return _explored(None, walk, effects, None)

    def choices(self, run: ExploredState) -> list[Choice]:
        """List the choices of a run, the default one first; none where the run has ended."""
        match run.effect:
            case StartStep(step=step):
                return _endings(step.id)
            case EvaluateEdges(step=step, outcome=Outcome(state=None)) as effect:
                search = step.id, effect.outcome.errored
                if search not in self._choices:
                    self._choices[search] = list(self._edge_choices(effect))
                return self._choices[search]
            case EvaluateEdges() as effect:
                return list(self._edge_choices(effect))
            case _:
                return []

    def follow(self, run: ExploredState, choice: Choice) -> ExploredState:
        """Continue a run after a choice, up to its next choice or its end."""
        walk, effects = decide(run.walk, _machine_event(run.effect, choice))
        return _explored(run, walk, effects, (choice, run.chosen))

    def _edge_choices(self, effect: EvaluateEdges) -> Iterator[Choice]:
        step, edges = effect.step, effect.edges
        # Only steps without code pass the input on; what the others return is unknown (None).
        if isinstance(effect.outcome.state, str):
            (evaluated,) = self.evaluate(step.id, [effect.outcome.state])
            throws = edges[len(evaluated.taken)] if evaluated.error else None
            yield Choice(step=step.id, edges=edges, taken=evaluated.taken, throws=throws)
            return
        witnesses = self._find_witnesses(step, effect.outcome.errored)
        if not witnesses:
            # Over a limit, whatever the state is: the run ends here, by one of its conditions.
            edge = next(edge for edge in edges if edge.expression)
            yield Choice(step=step.id, edges=edges, throws=edge)
        # Those that throw come last, as the default choice must not end the run.
        for witness in sorted(witnesses, key=lambda witness: witness.throws is not None):
            throws = None if witness.throws is None else edges[witness.throws]
            yield Choice(
                step=step.id,
                edges=edges,
                taken=witness.taken,
                throws=throws,
                witness=witness.state,
            )

    def _find_witnesses(self, step: Step, failed: bool) -> list[Witness]:
        key = (step.id, failed)
        if key not in self.witnesses:
            witnesses = self.searched[key] if key in self.searched else self.search(key)
            self.witnesses[key] = witnesses
            self.pruned |= dict.fromkeys(_values_without_state(step, failed, witnesses))
        return self.witnesses[key]

    def search(self, search: Search) -> list[Witness]:
        """Search for a state for every combination of values that a step's conditions can have."""
        id, failed = search
        failure = error_entry(error_of(Ending.FAILS)) if failed else None
        step = self.plan.step(id)

        def evaluate(states: Sequence[str]) -> Sequence[EdgesEvaluated]:
            return self.evaluate(id, states)

        conditions = tuple(edge.expression for edge in step.open_edges if edge.expression)
        if states := self._states.get(conditions):
            ended = [with_own_error(state, id, failure) for state in states]
            witnesses = witnesses_of(ended, evaluate(ended))
            if len(witnesses) == len(states):
                return witnesses
        witnesses = find_witnesses(step, failure, evaluate)
        # The ids of steps in `errors` differ from step to step.
        if not any("errors" in condition for condition in conditions):
            self._states[conditions] = [witness.state for witness in witnesses]
        return witnesses


def searches_of(plan: Plan) -> list[Search]:
    """List the searches that an exploration of any input can come to."""
    searches: list[Search] = []
    waiting, reached = [plan.start], {plan.start}
    while waiting:
        step = plan.steps[plan.index[waiting.pop()]]
        if any(edge.expression for edge in step.open_edges):
            # A step without code cannot fail.
            searches += [(step.id, failed) for failed in (False, True)[: 1 + step.runs_code]]
        after = () if step.id == plan.end else step.open_edges
        targets = dict.fromkeys(edge.target for edge in after if edge.target not in reached)
        reached |= targets.keys()
        waiting += targets
    return searches


def _values_without_state(step: Step, failed: bool, witnesses: list[Witness]) -> Iterator[str]:
    when = "fails" if failed else "succeeds" if step.runs_code else "starts the run"
    for place, edge in enumerate(step.open_edges):
        # A condition that throws ends the results, so some witnesses have fewer than others.
        values = {w.taken[place] for w in witnesses if len(w.taken) > place}
        if edge.expression and values != {True, False}:
            missing = "true or false" if not values else "false" if True in values else "true"
            text = f"a condition that is {missing} when '{step.id}' {when}: {edge.expression}"
            errors = (w.error for w in witnesses if w.throws == place and names_unknown(w.error))
            yield "".join((text, *(f" ({error})" for error in errors)))


def error_of(ending: Ending) -> StepError:
    type = ERRORS[ending]
    return StepError(type=type, message="scripted", name=type)


def _machine_event(effect: Effect, choice: Choice) -> MachineEvent:
    if isinstance(effect, StartStep):
        if choice.ending is Ending.SUCCEEDS or choice.ending is None:
            # No state: what the step would return is unknown.
            return StepFinished(outcome=Outcome(state=None))
        error = replace(error_of(choice.ending), job_id=choice.step)
        return StepFinished(outcome=Outcome(state=None, errored=True, error=error))
    thrown = StepError(type=choice.error_type, message="scripted") if choice.throws else None
    return EdgesEvaluated(taken=choice.taken, state=None, error=thrown)


def _explored(
    before: ExploredState | None,
    walk: MachineState,
    effects: Sequence[Effect],
    chosen: LinkedList[Choice],
) -> ExploredState:
    completed, handled = (before.completed, before.handled) if before else (None, None)
    for effect in effects[:-1]:
        assert isinstance(effect, CompleteStep), "the last effect of the machine leads on"
        completed = (effect, completed)
        if effect.outcome.errored and effect.next:
            handled = (effect.step.id, handled)
    last = effects[-1]
    assert not isinstance(last, CompleteStep), "the last effect of the machine leads on"
    return ExploredState(
        walk=walk,
        effect=last,
        chosen=chosen,
        completed=completed,
        handled=handled,
        failed=(before is not None and before.failed) or _has_failed_leaf(before, walk),
    )


def _has_failed_leaf(before: ExploredState | None, walk: MachineState) -> bool:
    """Return whether one of the leaves since the state before has an error."""
    earlier, leaves = before and before.walk.leaves, walk.leaves
    while leaves is not None and leaves is not earlier:
        leaf, leaves = leaves
        if leaf.outcome.error is not None:
            return True
    return False


# --- the table ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionTable:
    """Rows of the decision table, and the number of choices not followed, by reason."""

    rows: tuple[ExploredRun, ...]
    pruned: Mapping[str, int]


# The reasons of DecisionTable.pruned, as people read them.
SAME = "a step's outcomes are varied once, where a run first comes to it"
FULL = "the table is full"


def decision_table(
    explorer: Explorer,
    *,
    everything: bool = False,
    limit: int = 10_000,
    start: ExploredState | None = None,
    before: int = 0,
) -> DecisionTable:
    """Build the decision table; with ``everything``, every combination, up to ``limit`` rows.

    A part of a table begins at ``start``, where the rest has ``before`` rows and waiting runs.
    """
    varied: set[Hashable] = set()
    pruned: dict[str, int] = {}
    rows: list[ExploredRun] = []
    waiting = [start or explorer.start()]
    while waiting:
        run = waiting.pop()
        if run.ended:
            rows.append(run.run())
            continue
        choices = explorer.choices(run)
        key = _decision(run)
        # Every run that waits becomes a row, so they count as rows too.
        if before + len(rows) + len(waiting) >= limit:
            _count(pruned, FULL, len(choices) - 1)
            choices = choices[:1]
        elif not everything and key in varied:
            _count(pruned, SAME, len(choices) - 1)
            choices = choices[:1]
        varied.add(key)
        # Reversed, as the last one is popped first: the table begins with the default way.
        waiting += [explorer.follow(run, choice) for choice in reversed(choices)]
    return DecisionTable(rows=tuple(rows), pruned=pruned)


def _decision(run: ExploredState) -> Hashable:
    """Identify the next decision alone, whatever happened before."""
    match run.effect:
        case StartStep(step=step):
            return "run", step.id
        case EvaluateEdges(step=step, outcome=outcome):
            return "evaluate", step.id, outcome.errored, outcome.state
        case effect:
            return effect.status


def _count(counts: dict[str, int], reason: str, number: int) -> None:
    if number:
        counts[reason] = counts.get(reason, 0) + number


# --- all combinations, by situation -------------------------------------------------------------


def situation(run: ExploredState) -> Hashable:
    """Identify everything that the future of a run depends on."""
    walk = run.walk
    waiting = tuple([(entry.step, entry.input) for entry in walk.queue]) if walk.queue else ()
    return _decision(run), waiting, run.failed


SITUATIONS_LIMIT = 20_000
"""The most situations that runs are counted in."""


def count_runs(explorer: Explorer, limit: int = SITUATIONS_LIMIT) -> int | None:
    """Count the runs, in every combination; ``None`` where there are over ``limit`` situations."""
    counts = count_by_situation(explorer, limit)
    return None if counts is None else counts[situation(explorer.start())]


def count_by_situation(
    explorer: Explorer, limit: int = SITUATIONS_LIMIT
) -> Mapping[Hashable, int] | None:
    """Count the runs that begin in each situation; ``None`` where there are over ``limit``."""
    counts: dict[Hashable, int] = {}
    # Depth first on a stack of our own: a workflow can be deeper than Python's recursion limit.
    # A run is pushed a second time, with those that follow it, to be counted after them.
    stack: list[tuple[ExploredState, list[ExploredState] | None]] = [(explorer.start(), None)]
    while stack:
        run, following = stack.pop()
        key = situation(run)
        if key in counts:
            continue
        if run.ended:
            counts[key] = 1
        elif following is None:
            following = [explorer.follow(run, choice) for choice in explorer.choices(run)]
            stack.append((run, following))
            stack += [(after, None) for after in following]
        else:
            counts[key] = sum(counts[situation(after)] for after in following)
        if len(counts) + len(stack) > limit:
            return None
    return counts
