"""Every distinguishable way that a workflow can go: the machine, driven through all outcomes.

The rules of pruning, all of them:

1. A step can succeed, fail, crash or be killed. Its conditions can say whatever a state was found
   for that makes them say it (:mod:`worker.explore.state_search`), or throw; where the state is
   known from the input, they say what they say.
2. A crash, a kill and a condition that throws end the run: nothing after them matters.
3. What a step leads to depends on how it ended, not on how the run came to it. So in the table
   each step's outcomes are varied once, where a run first comes to it, while the others go their
   usual way (they succeed, and their conditions say what was found first).
4. Questions about a run look at all combinations: runs that are in the same situation (the same
   steps wait, the same has failed, the question knows the same) have the same future, which is
   looked at once.

Nothing here runs code: conditions are asked of whoever ``ask`` is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from worker.core.machine import (
    CompleteRun,
    CompleteStep,
    EdgesEvaluated,
    Effect,
    EvaluateEdges,
    MachineEvent,
    Started,
    StartStep,
    StepFinished,
    Walk,
    begin,
    decide,
)
from worker.core.outcome import Outcome, StepError, entry_of
from worker.core.persistent import iterate
from worker.core.plan import Plan
from worker.core.status import Status
from worker.explore.state_search import Witness, witnesses
from worker.workflow.model import Edge, Step


class Ending(StrEnum):
    """How an execution of a step can end."""

    SUCCEEDS = "succeeds"
    FAILS = "fails"
    CRASHES = "crashes"
    KILLED = "is killed"


ERRORS = {Ending.FAILS: "JobError", Ending.CRASHES: "ReferenceError", Ending.KILLED: "OomError"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One decision of a run: how an execution of a step ended, or what its conditions said.

    ``witness`` is the state that makes the conditions say so; ``None`` where the input decides.
    """

    step: str
    ending: Ending | None = None
    edges: tuple[Edge, ...] = ()
    verdicts: tuple[bool, ...] = ()
    throws: Edge | None = None
    witness: str | None = None

    @property
    def aborts(self) -> bool:
        return self.throws is not None or self.ending in (Ending.CRASHES, Ending.KILLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExploredRun:
    """A run to its end: its choices, the executions that completed, and what came of it."""

    choices: tuple[Choice, ...]
    path: tuple[CompleteStep, ...]
    status: Status
    error_type: str | None

    @property
    def steps(self) -> tuple[str, ...]:
        return tuple(one.step.id for one in self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExploredState:
    """A run so far. ``known`` is the input as JSON text, where there is one."""

    walk: Walk
    order: StartStep | EvaluateEdges | CompleteRun
    choices: tuple[Choice, ...] = ()
    path: tuple[CompleteStep, ...] = ()

    @property
    def ended(self) -> bool:
        return isinstance(self.order, CompleteRun)

    def run(self) -> ExploredRun:
        assert isinstance(self.order, CompleteRun)
        error = self.order.error.type if self.order.error else None
        return ExploredRun(
            choices=self.choices, path=self.path, status=self.order.status, error_type=error
        )


Judged = Callable[[str, Sequence[str]], Sequence[EdgesEvaluated]]
"""The verdicts on the open edges of a step (by id) over states."""


@dataclass(slots=True)
class Explorer:
    """Knows how a run can go on from where it is."""

    plan: Plan
    ask: Judged
    input: str | None = None
    pruned: dict[str, None] = field(default_factory=dict)
    _found: dict[tuple[str, bool], list[Witness]] = field(default_factory=dict)

    def start(self) -> ExploredState:
        return _node(begin(self.plan), Started(input=self.input), (), ())

    def choices(self, node: ExploredState) -> list[Choice]:
        """The ways on, the usual one first; none where the run has ended."""
        match node.order:
            case StartStep(step=step):
                return [Choice(step=step.id, ending=ending) for ending in Ending]
            case EvaluateEdges() as order:
                return list(self._verdicts(order))
            case _:
                return []

    def follow(self, node: ExploredState, choice: Choice) -> ExploredState:
        """The run after a choice, at its next one or at its end."""
        fact = _fact(node.order, choice)
        return _node(node.walk, fact, (*node.choices, choice), node.path)

    def _verdicts(self, order: EvaluateEdges) -> Iterator[Choice]:
        step, edges = order.step, order.edges
        if isinstance(order.outcome.state, str):
            (judged,) = self.ask(step.id, [order.outcome.state])
            throws = edges[len(judged.verdicts)] if judged.error else None
            yield Choice(step=step.id, edges=edges, verdicts=judged.verdicts, throws=throws)
            return
        found = self._witnesses(step, order.outcome.errored)
        if not found:
            # Over a limit, whatever the state is: the run ends here, by one of its conditions.
            edge = next(one for one in edges if one.expression)
            yield Choice(step=step.id, edges=edges, throws=edge)
        for one in sorted(found, key=lambda one: one.throws is not None):
            throws = None if one.throws is None else edges[one.throws]
            yield Choice(
                step=step.id,
                edges=edges,
                verdicts=one.verdicts,
                throws=throws,
                witness=one.state,
            )

    def _witnesses(self, step: Step, failed: bool) -> list[Witness]:
        key = (step.id, failed)
        if key not in self._found:
            failure = entry_of(error_of(Ending.FAILS)) if failed else None
            found = witnesses(step, failure, lambda states: self.ask(step.id, states))
            self._found[key] = found
            self.pruned |= dict.fromkeys(_never_seen(step, failed, found))
        return self._found[key]


def _never_seen(step: Step, failed: bool, found: list[Witness]) -> Iterator[str]:
    """What no state was found for."""
    when = "fails" if failed else "succeeds" if step.runs_code else "starts the run"
    for place, edge in enumerate(step.open_edges):
        seen = {one.verdicts[place] for one in found if len(one.verdicts) > place}
        if edge.expression and seen != {True, False}:
            what = "true or false" if not seen else "false" if True in seen else "true"
            yield f"when '{step.id}' {when}, no state makes it {what}: {edge.expression}"


def error_of(ending: Ending) -> StepError:
    """The error of an execution that does not succeed."""
    type = ERRORS[ending]
    return StepError(type=type, message="scripted", name=type)


def _fact(order: Effect, choice: Choice) -> MachineEvent:
    if isinstance(order, StartStep):
        if choice.ending is Ending.SUCCEEDS or choice.ending is None:
            return StepFinished(outcome=Outcome(state=None))
        error = replace(error_of(choice.ending), job_id=choice.step)
        return StepFinished(outcome=Outcome(state=None, errored=True, error=error))
    thrown = StepError(type="EdgeConditionError", message="scripted") if choice.throws else None
    return EdgesEvaluated(verdicts=choice.verdicts, state=None, error=thrown)


def _node(
    walk: Walk, fact: MachineEvent, choices: tuple[Choice, ...], path: tuple[CompleteStep, ...]
) -> ExploredState:
    walk, effects = decide(walk, fact)
    completed = tuple(one for one in effects if isinstance(one, CompleteStep))
    order = effects[-1]
    assert not isinstance(order, CompleteStep), "the machine always orders what comes next"
    return ExploredState(walk=walk, order=order, choices=choices, path=path + completed)


# --- the table ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The rows of the decision table, and how many ways on were not followed, by reason."""

    rows: tuple[ExploredRun, ...]
    pruned: Mapping[str, int]


SAME = "a step's outcomes are varied once, where a run first comes to it"
FULL = "the table is full"


def table(explorer: Explorer, *, everything: bool = False, limit: int = 10_000) -> Table:
    """The decision table; with ``everything``, every combination, up to ``limit`` rows."""
    varied: set[Hashable] = set()
    pruned: dict[str, int] = {}
    rows: list[ExploredRun] = []
    waiting = [explorer.start()]
    while waiting:
        node = waiting.pop()
        if node.ended:
            rows.append(node.run())
            continue
        choices = explorer.choices(node)
        key = _decision(node)
        if len(rows) + len(waiting) >= limit:
            _count(pruned, FULL, len(choices) - 1)
            choices = choices[:1]
        elif not everything and key in varied:
            _count(pruned, SAME, len(choices) - 1)
            choices = choices[:1]
        varied.add(key)
        # The usual way is taken first, so that the table begins with it.
        waiting += [explorer.follow(node, choice) for choice in reversed(choices)]
    return Table(rows=tuple(rows), pruned=pruned)


def _decision(node: ExploredState) -> Hashable:
    """What is decided here, whatever happened before."""
    match node.order:
        case StartStep(step=step):
            return "run", step.id
        case EvaluateEdges(step=step, outcome=outcome):
            return "judge", step.id, outcome.errored, outcome.state
        case order:
            return order.status


def _count(counts: dict[str, int], reason: str, number: int) -> None:
    if number:
        counts[reason] = counts.get(reason, 0) + number


# --- all combinations, by situation -------------------------------------------------------------


def situation(node: ExploredState) -> Hashable:
    """What the future of a run depends on."""
    waiting = tuple((one.step, one.input) for one in node.walk.queue)
    failed = any(leaf.outcome.error for leaf in iterate(node.walk.leaves))
    return _decision(node), waiting, failed


def count_runs(explorer: Explorer, limit: int = 20_000) -> int | None:
    """How many runs there are, every combination counted; ``None`` beyond so many situations."""
    counts: dict[Hashable, int] = {}
    stack: list[tuple[ExploredState, list[ExploredState] | None]] = [(explorer.start(), None)]
    while stack:
        node, after = stack.pop()
        key = situation(node)
        if key in counts:
            continue
        if node.ended:
            counts[key] = 1
        elif after is None:
            after = [explorer.follow(node, choice) for choice in explorer.choices(node)]
            stack.append((node, after))
            stack += [(one, None) for one in after]
        else:
            counts[key] = sum(counts[situation(one)] for one in after)
        if len(counts) + len(stack) > limit:
            return None
    return counts[situation(explorer.start())]
