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

import itertools
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace

from worker.comparison.tokens import tokens
from worker.core.machine import CompleteRun, EdgesEvaluated, EvaluateEdges, StartStep
from worker.core.outcome import error_entry
from worker.core.persistent import iterate
from worker.explore.explorer import Choice, Ending, ExploredState, Explorer, error_of, situation
from worker.explore.state_search import BATCH, candidate_states, over_limit
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


@dataclass(frozen=True, slots=True)
class _Pair:
    old: ExploredState
    new: ExploredState
    choices: tuple[Choice, ...] = ()

    def same_next(self) -> bool:
        """Return whether both versions execute the same step next."""
        first, second = self.old.effect, self.new.effect
        return (
            isinstance(first, StartStep)
            and isinstance(second, StartStep)
            and first.step.id == second.step.id
        )

    def identity(self) -> Hashable:
        same = _leaves(self.old) == _leaves(self.new), _handled(self.old) == _handled(self.new)
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

    def follow(self, pair: _Pair) -> list[_Pair] | None:
        """Make the next decision in every way; ``None`` where the versions part or have ended."""
        first, second = pair.old.effect, pair.new.effect
        if isinstance(first, EvaluateEdges):
            if isinstance(second, EvaluateEdges) and first.step.id == second.step.id:
                return list(self._evaluate_both(pair, first, second))
            return [self._after(pair, choice, None) for choice in self.old.choices(pair.old)]
        if isinstance(second, EvaluateEdges):
            return [self._after(pair, None, choice) for choice in self.new.choices(pair.new)]
        if pair.same_next():
            return [self._after(pair, choice, choice) for choice in self.old.choices(pair.old)]
        return None

    def _after(self, pair: _Pair, old: Choice | None, new: Choice | None) -> _Pair:
        return _Pair(
            pair.old if old is None else self.old.follow(pair.old, old),
            pair.new if new is None else self.new.follow(pair.new, new),
            (*pair.choices, *((new or old,) if old or new else ())),
        )

    def _evaluate_both(
        self, pair: _Pair, old: EvaluateEdges, new: EvaluateEdges
    ) -> Iterator[_Pair]:
        if _same_conditions(old.edges, new.edges):
            for choice in self.old.choices(pair.old):
                # The same values, over the other version's edges.
                throws = None if choice.throws is None else new.edges[len(choice.taken)]
                yield self._after(pair, choice, replace(choice, edges=new.edges, throws=throws))
            return
        if isinstance(old.outcome.state, str):
            states = iter([old.outcome.state])
        else:
            failure = error_entry(error_of(Ending.FAILS)) if old.outcome.errored else None
            conditions = [edge for edge in (*old.edges, *new.edges) if edge.expression]
            states = candidate_states(conditions, old.step.id, failure)
        for first, second in self._search(old, new, states):
            yield self._after(pair, first, second)

    def _search(
        self, old: EvaluateEdges, new: EvaluateEdges, states: Iterator[str]
    ) -> Iterator[tuple[Choice, Choice]]:
        """Find a state for every pair of results that the conditions of both versions have."""
        seen: set[Hashable] = set()
        while batch := list(itertools.islice(states, BATCH)):
            results = zip(
                batch,
                self.old.evaluate(old.step.id, batch),
                self.new.evaluate(new.step.id, batch),
                strict=False,
            )
            over = True
            for state, first, second in results:
                if over_limit(first) or over_limit(second):
                    continue
                over = False
                choices = _choice(old, first, state), _choice(new, second, state)
                key = tuple((choice.taken, choice.throws) for choice in choices)
                if key not in seen:
                    seen.add(key)
                    yield choices
            if over:
                return

    def difference(self, pair: _Pair) -> Scenario | None:
        """Describe how the versions end from here; ``None`` where it is the same way."""
        old, new = _default_end(self.old, pair.old), _default_end(self.new, pair.new)
        first, second = _ended(old), _ended(new)
        if first == second and pair.old.ended and pair.new.ended:
            return None
        return Scenario(
            choices=pair.choices,
            shared=len(pair.old.path),
            old=first,
            new=second,
            old_run=old,
            new_run=new,
        )


def _same_conditions(old: Sequence[Edge], new: Sequence[Edge]) -> bool:
    def conditions(edges: Sequence[Edge]) -> list[object]:
        return [(edge.kind, edge.expression and tokens(edge.expression)) for edge in edges]

    return conditions(old) == conditions(new)


def _choice(effect: EvaluateEdges, result: EdgesEvaluated, state: str) -> Choice:
    throws = effect.edges[len(result.taken)] if result.error else None
    return Choice(
        step=effect.step.id, edges=effect.edges, taken=result.taken, throws=throws, witness=state
    )


def _default_end(explorer: Explorer, run: ExploredState) -> ExploredState:
    while not run.ended:
        run = explorer.follow(run, explorer.choices(run)[0])
    return run


def _ended(run: ExploredState) -> Ended:
    assert isinstance(run.effect, CompleteRun)
    explored = run.run()
    return Ended(
        status=explored.status.value,
        error_type=explored.error_type,
        path=explored.steps,
        leaves=tuple(leaf.key for leaf in run.effect.leaves),
        # A run that was aborted handled nothing for its end.
        handled=_handled(run) if run.effect.leaves else (),
    )


def _leaves(run: ExploredState) -> tuple[str, ...]:
    return tuple(leaf.key for leaf in iterate(run.walk.leaves))


def _handled(run: ExploredState) -> tuple[str, ...]:
    """Return the steps whose failure another step followed."""
    return tuple(done.step.id for done in run.path if done.outcome.errored and done.next)
