"""Properties of all runs of a workflow, each refuted by a counterexample or by none.

Runs that abort (a crash, a kill, a condition that throws) refute nothing: that such a run stops at
once is a rule of every workflow.
"""

from __future__ import annotations

import functools
import re
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass

from worker.core.machine import CompleteStep
from worker.errors import UsageError
from worker.explore.explorer import ExploredRun, ExploredState, Explorer, situation
from worker.workflow.documents.data import did_you_mean

# The marks that a property sets while a run goes on: the state of a small automaton.
PropertyState = frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """Sentence about all runs, as an automaton over the executions of a run.

    ``next`` returns its state after an execution. A run refutes the sentence as soon as ``broken``
    is true of the state, or where it ends and ``unmet`` is.
    """

    text: str
    next: Callable[[PropertyState, CompleteStep], PropertyState]
    broken: Callable[[PropertyState], bool] = lambda state: False
    unmet: Callable[[PropertyState], bool] = lambda state: False


@dataclass(frozen=True, slots=True, kw_only=True)
class PropertyResult:
    """Result of a check: the shortest ``counterexample``, or ``None``.

    Without one the property holds, unless ``complete`` is false: then there were more
    ``situations`` than the limit.
    """

    text: str
    counterexample: ExploredRun | None
    situations: int
    complete: bool

    @property
    def holds(self) -> bool:
        return self.counterexample is None and self.complete


FORMS = (
    "no failure of STEP goes unhandled",
    "no failure goes unhandled",
    "STEP always runs",
    "STEP never runs",
    "STEP always runs after STEP [succeeds|fails]",
    "STEP never runs after STEP [succeeds|fails]",
    "never both STEP and STEP",
)

# Quoted where the id of a step has a space.
_STEP = r"""("[^"]+"|'[^']+'|\S+)"""
_WHEN = r"(?: (succeeds|fails))?"


def parse_property(text: str, steps: tuple[str, ...]) -> Property:
    """Parse a sentence about the steps. Raises :class:`UsageError` on one of another form."""
    for pattern, make in _FACTORIES.items():
        if match := re.fullmatch(pattern, text.strip()):
            return make(text, *(_argument(word, steps) for word in match.groups()))
    raise UsageError(f"unknown property '{text}' (expected one of: {'; '.join(FORMS)})")


def _argument(word: str | None, steps: tuple[str, ...]) -> str:
    name = (word or "").strip("\"'")
    if name in ("", "succeeds", "fails") or name in steps:
        return name
    raise UsageError(f"the workflow has no step '{name}'{did_you_mean(name, steps)}")


def _unhandled(text: str, step: str = "") -> Property:
    def next(state: PropertyState, execution: CompleteStep) -> PropertyState:
        # A failure without a next step is what fails the run; any edge after it handles it.
        unhandled = execution.outcome.error is not None and not execution.next
        return state | {"unhandled"} if unhandled and step in ("", execution.step.id) else state

    return Property(text=text, next=next, broken=lambda state: "unhandled" in state)


def _add_step(state: PropertyState, execution: CompleteStep) -> PropertyState:
    return state | {execution.step.id}


def _always(text: str, step: str) -> Property:
    return Property(text=text, next=_add_step, unmet=lambda state: step not in state)


def _never(text: str, step: str) -> Property:
    return Property(text=text, next=_add_step, broken=lambda state: step in state)


def _never_both(text: str, step: str, other: str) -> Property:
    return Property(text=text, next=_add_step, broken=lambda state: {step, other} <= state)


def _matches(execution: CompleteStep, step: str, ending: str) -> bool:
    ended = "fails" if execution.outcome.error else "succeeds"
    return execution.step.id == step and ending in ("", ended)


def _always_after(text: str, later: str, first: str, ending: str) -> Property:
    def next(state: PropertyState, execution: CompleteStep) -> PropertyState:
        # Removed before it is added: "a always runs after a" needs one more execution of a.
        if execution.step.id == later:
            state -= {"due"}
        return state | {"due"} if _matches(execution, first, ending) else state

    return Property(text=text, next=next, unmet=lambda state: "due" in state)


def _never_after(text: str, later: str, first: str, ending: str) -> Property:
    def next(state: PropertyState, execution: CompleteStep) -> PropertyState:
        if execution.step.id == later and "first" in state:
            state |= {"later"}
        return state | {"first"} if _matches(execution, first, ending) else state

    return Property(text=text, next=next, broken=lambda state: "later" in state)


_FACTORIES: dict[str, Callable[..., Property]] = {
    "no failure goes unhandled": _unhandled,
    f"no failure of {_STEP} goes unhandled": _unhandled,
    f"{_STEP} always runs": _always,
    f"{_STEP} never runs": _never,
    f"{_STEP} always runs after {_STEP}{_WHEN}": _always_after,
    f"{_STEP} never runs after {_STEP}{_WHEN}": _never_after,
    f"never both {_STEP} and {_STEP}": _never_both,
}


# Visited situations are kept in memory, and the size of one grows with the steps of the workflow.
STEPS_LIMIT = 6_000_000


def check_property(explorer: Explorer, prop: Property, limit: int | None = None) -> PropertyResult:
    """Check a property in every situation that runs can come to, up to ``limit``."""
    limit = limit or STEPS_LIMIT // max(30, len(explorer.plan.steps))
    # Breadth first, so that the first counterexample is a shortest one.
    waiting: deque[tuple[ExploredState, PropertyState]] = deque([(explorer.start(), frozenset())])
    visited: set[Hashable] = set()
    while waiting and len(visited) < limit:
        run, state = waiting.popleft()
        if prop.broken(state) or (run.ended and prop.unmet(state)):
            counterexample = _finish(explorer, run)
            return _result(prop, counterexample, len(visited), complete=True)
        for after, next_state in _following(explorer, prop, run, state):
            key = (situation(after), next_state)
            if key not in visited:
                visited.add(key)
                waiting.append((after, next_state))
    return _result(prop, None, len(visited), complete=not waiting)


def _following(
    explorer: Explorer, prop: Property, run: ExploredState, state: PropertyState
) -> Iterator[tuple[ExploredState, PropertyState]]:
    """Yield the runs after each choice that does not abort, with the state of the property."""
    for choice in explorer.choices(run):
        if not choice.aborts:
            after = explorer.follow(run, choice)
            yield after, functools.reduce(prop.next, _completed_between(run, after), state)


def _completed_between(run: ExploredState, after: ExploredState) -> Iterator[CompleteStep]:
    newest_first: list[CompleteStep] = []
    rest = after.completed
    while rest is not None and rest is not run.completed:
        execution, rest = rest
        newest_first.append(execution)
    return reversed(newest_first)


def _finish(explorer: Explorer, run: ExploredState) -> ExploredRun:
    # A counterexample is shown as a whole run; the default choices are the plainest way to its end.
    while not run.ended:
        run = explorer.follow(run, explorer.choices(run)[0])
    return run.run()


def _result(
    prop: Property, run: ExploredRun | None, situations: int, *, complete: bool
) -> PropertyResult:
    return PropertyResult(
        text=prop.text, counterexample=run, situations=situations, complete=complete
    )
