"""Walk of two versions of a workflow in lockstep, to the scenarios in which they differ.

The rules, all of them:

1. Both versions start together. A step that both execute next has the same ending in both: it
   succeeds, fails, crashes or is killed.
2. Conditions are evaluated in both versions over the same state. Where the versions have the same
   conditions, the states are those of an exploration; where they do not, states are searched that
   give the conditions of both every combination of values.
3. Where one version executes another step than the other, or only one has ended, they part: the
   scenario so far is a difference, and what follows it is not explored.
4. Where both have ended, they differ in their status, error type, leaves or handled failures.
5. Scenarios come shortest first. Two versions in the same pair of situations, with the same
   differences so far, have the same future, which is explored once.
6. Of scenarios that part at the same decision in the same way, the shortest one stands for all.

Nothing here runs code: both explorers have functions that evaluate conditions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from msgspec import Struct

from worker.comparison.tokens import tokens
from worker.core.machine import CompleteRun, EdgesEvaluated, EvaluateEdges, StartStep
from worker.core.outcome import error_entry
from worker.core.persistent import LinkedList, in_order, iterate
from worker.core.plan import Plan
from worker.explore.explorer import (
    Choice,
    Ending,
    ExploredState,
    Explorer,
    Search,
    error_of,
    situation,
)
from worker.explore.state_search import Witness, batches, candidate_states, over_limit
from worker.workflow.model import Edge

PAIRS_LIMIT = 20_000
"""The most pairs of situations that a comparison looks at by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """End of one version in a scenario: its status, error type, path, leaves, handled failures."""

    status: str
    error_type: str | None
    path: tuple[str, ...]
    leaves: tuple[str, ...]
    handled: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Choices after which the versions differ, with the end of each.

    ``shared`` is the number of executions before they part. From there on, each version goes the
    default way: its steps succeed.
    """

    choices: tuple[Choice, ...]
    shared: int
    old: Ended
    new: Ended
    old_run: ExploredState
    new_run: ExploredState


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Scenarios, shortest first, and the number of pairs of situations that were looked at.

    More pairs exist if it is not ``complete``.
    """

    scenarios: tuple[Scenario, ...]
    pairs: int
    complete: bool


class _Pair(Struct, frozen=True, eq=False):
    old: ExploredState
    new: ExploredState
    # Newest first.
    chosen: LinkedList[Choice] = None

    def same_next(self) -> bool:
        """Return whether both versions execute the same step next."""
        first, second = self.old.effect, self.new.effect
        return (
            isinstance(first, StartStep)
            and isinstance(second, StartStep)
            and first.step.id == second.step.id
        )

    def identity(self) -> Hashable:
        old, new = self.old, self.new
        same = _leaves(old) == _leaves(new), in_order(old.handled) == in_order(new.handled)
        return situation(self.old), situation(self.new), same


def compare(old: Explorer, new: Explorer, limit: int = PAIRS_LIMIT) -> Comparison:
    """Walk both versions and collect the scenarios in which they differ."""
    lockstep = _Lockstep(old, new)
    waiting = deque([_Pair(old.start(), new.start())])
    scenarios: dict[Hashable, Scenario] = {}
    seen: set[Hashable] = set()
    while waiting and len(seen) < limit:
        pair = waiting.popleft()
        identity = pair.identity()
        if identity in seen:
            continue
        seen.add(identity)
        following = lockstep.follow(pair)
        if following is not None:
            waiting += following
        elif (scenario := lockstep.difference(pair)) is not None:
            scenarios.setdefault(_kind(scenario, pair), scenario)
    return Comparison(scenarios=tuple(scenarios.values()), pairs=len(seen), complete=not waiting)


def _kind(scenario: Scenario, pair: _Pair) -> Hashable:
    """Identify the decision at which the versions part, and the way in which they do."""
    last = scenario.choices[-1] if scenario.choices else None
    decision = last and (last.step, last.ending, last.taken, last.throws)
    return decision, _next(pair.old), _next(pair.new), scenario.old.status, scenario.new.status


def _next(run: ExploredState) -> str | None:
    return run.effect.step.id if isinstance(run.effect, StartStep) else None


@dataclass(frozen=True, slots=True)
class _Lockstep:
    old: Explorer
    new: Explorer
    # A search runs conditions in the sandbox, and many pairs come to the same step.
    searched: dict[tuple[str, bool, Any], list[tuple[Choice, Choice]]] = field(default_factory=dict)

    def follow(self, pair: _Pair) -> list[_Pair] | None:
        """Make the next decision in every way; ``None`` where the versions part or have ended."""
        first, second = pair.old.effect, pair.new.effect
        if isinstance(first, EvaluateEdges):
            if isinstance(second, EvaluateEdges) and first.step.id == second.step.id:
                both = self._pairs_of_choices(pair.old, first, second)
                return [self._follow_both(pair, *choices) for choices in both]
            return [
                _Pair(self.old.follow(pair.old, choice), pair.new, (choice, pair.chosen))
                for choice in self.old.choices(pair.old)
            ]
        if isinstance(second, EvaluateEdges):
            return [
                _Pair(pair.old, self.new.follow(pair.new, choice), (choice, pair.chosen))
                for choice in self.new.choices(pair.new)
            ]
        if pair.same_next():
            return [self._follow_both(pair, each, each) for each in self.old.choices(pair.old)]
        return None

    def _follow_both(self, pair: _Pair, old: Choice, new: Choice) -> _Pair:
        after = self.old.follow(pair.old, old), self.new.follow(pair.new, new)
        return _Pair(*after, (new, pair.chosen))

    def _pairs_of_choices(
        self, run: ExploredState, old: EvaluateEdges, new: EvaluateEdges
    ) -> Sequence[tuple[Choice, Choice]]:
        state = old.outcome.state
        search = old.step.id, old.outcome.errored, state
        if search not in self.searched:
            if _same_conditions(old.edges, new.edges):
                choices = self.old.choices(run)
                self.searched[search] = [(each, _over_edges(each, new.edges)) for each in choices]
            else:
                states = iter([state]) if isinstance(state, str) else _states(old, new)
                self.searched[search] = list(self._search(old, new, states))
        return self.searched[search]

    def _search(
        self, old: EvaluateEdges, new: EvaluateEdges, states: Iterator[str]
    ) -> Iterator[tuple[Choice, Choice]]:
        """Find a state for every pair of results that the conditions of both versions have."""
        seen: set[Hashable] = set()
        for batch in batches(states):
            results = zip(
                batch,
                self.old.evaluate(old.step.id, batch),
                self.new.evaluate(new.step.id, batch),
                strict=False,
            )
            over = True
            for state, first, second in results:
                # Where only one version is over a limit, its run is killed here.
                if over_limit(first) and over_limit(second):
                    continue
                over &= over_limit(first) or over_limit(second)
                choices = _choice(old, first, state), _choice(new, second, state)
                key = tuple((each.taken, each.throws, each.error_type) for each in choices)
                if key not in seen:
                    seen.add(key)
                    yield choices
            if over:
                return

    def difference(self, pair: _Pair) -> Scenario | None:
        """Describe how the versions end from here; ``None`` where it is the same way."""
        old, new = default_end(self.old, pair.old), default_end(self.new, pair.new)
        first, second = describe_end(old), describe_end(new)
        if first == second and pair.old.ended and pair.new.ended:
            return None
        return Scenario(
            choices=in_order(pair.chosen),
            shared=sum(1 for _ in iterate(pair.old.completed)),
            old=first,
            new=second,
            old_run=old,
            new_run=new,
        )


def shared_searches(old: Explorer, new: Plan) -> dict[Search, list[Witness]]:
    """Return the results of the old version's searches that the new version would repeat."""
    return {
        search: witnesses
        for search, witnesses in old.witnesses.items()
        if (place := new.index.get(search[0])) is not None
        and _same_conditions(old.plan.step(search[0]).open_edges, new.steps[place].open_edges)
    }


def _states(old: EvaluateEdges, new: EvaluateEdges) -> Iterator[str]:
    failure = error_entry(error_of(Ending.FAILS)) if old.outcome.errored else None
    conditions = [edge for edge in (*old.edges, *new.edges) if edge.expression]
    return candidate_states(conditions, old.step.id, failure)


def _over_edges(choice: Choice, edges: tuple[Edge, ...]) -> Choice:
    """Return the same values over the other version's edges."""
    throws = None if choice.throws is None else edges[len(choice.taken)]
    return replace(choice, edges=edges, throws=throws)


def _same_conditions(old: Sequence[Edge], new: Sequence[Edge]) -> bool:
    def conditions(edges: Sequence[Edge]) -> list[object]:
        return [(edge.kind, edge.expression and tokens(edge.expression)) for edge in edges]

    return conditions(old) == conditions(new)


def _choice(effect: EvaluateEdges, result: EdgesEvaluated, state: str) -> Choice:
    throws = effect.edges[len(result.taken)] if result.error else None
    choice = Choice(
        step=effect.step.id, edges=effect.edges, taken=result.taken, throws=throws, witness=state
    )
    return choice if result.error is None else replace(choice, error_type=result.error.type)


def default_end(explorer: Explorer, run: ExploredState) -> ExploredState:
    while not run.ended:
        run = explorer.follow(run, explorer.choices(run)[0])
    return run


def describe_end(run: ExploredState) -> Ended:
    assert isinstance(run.effect, CompleteRun)
    explored = run.run()
    return Ended(
        status=explored.status.value,
        error_type=explored.error_type,
        path=explored.steps,
        leaves=tuple(leaf.key for leaf in run.effect.leaves),
        # A run that was aborted handled nothing for its end.
        handled=in_order(run.handled) if run.effect.leaves else (),
    )


def _leaves(run: ExploredState) -> list[str]:
    return [leaf.key for leaf in iterate(run.walk.leaves)]
