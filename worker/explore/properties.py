"""Questions about all runs of a workflow, each answered by a run that breaks it, or by none.

A run that aborts (a crash, a kill, a condition that throws) breaks nothing but ``never``: that it
stops at once is the rule of every workflow.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from worker.core.machine import CompleteStep
from worker.errors import UsageError
from worker.explore.explorer import ExploredRun, ExploredState, Explorer, situation
from worker.workflow.documents.data import did_you_mean

Memory = frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """A sentence, and how a run breaks it.

    ``see`` is what is remembered after an execution. A run is against the sentence as soon as
    ``broken`` says so, or where it ended and ``unmet`` says so.
    """

    text: str
    see: Callable[[Memory, CompleteStep], Memory]
    broken: Callable[[Memory], bool] = lambda memory: False
    unmet: Callable[[Memory], bool] = lambda memory: False


@dataclass(frozen=True, slots=True, kw_only=True)
class PropertyResult:
    """``counterexample`` is the shortest run against the sentence. Without one the sentence holds,
    unless ``complete`` is false: there were more situations than were looked at."""

    question: Property
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

_STEP = r"""("[^"]+"|'[^']+'|\S+)"""
_WHEN = r"(?: (succeeds|fails))?"


def ask(text: str, steps: tuple[str, ...]) -> Property:
    """The question that a sentence asks. Raises :class:`UsageError` on one that asks nothing."""
    for pattern, make in _MAKERS.items():
        if found := re.fullmatch(pattern, text.strip()):
            words = (_named(word, steps) for word in found.groups())
            return make(text, *words)
    raise UsageError(f"the question '{text}' is none of: {'; '.join(FORMS)}")


def _named(word: str | None, steps: tuple[str, ...]) -> str:
    name = (word or "").strip("\"'")
    if name in ("", "succeeds", "fails") or name in steps:
        return name
    raise UsageError(f"the workflow has no step '{name}'{did_you_mean(name, steps)}")


def _unhandled(text: str, step: str = "") -> Property:
    def see(memory: Memory, done: CompleteStep) -> Memory:
        leaf = done.outcome.error is not None and not done.next
        return memory | {"unhandled"} if leaf and step in ("", done.step.id) else memory

    return Property(text=text, see=see, broken=lambda memory: "unhandled" in memory)


def _seen(memory: Memory, done: CompleteStep) -> Memory:
    return memory | {done.step.id}


def _always(text: str, step: str) -> Property:
    return Property(text=text, see=_seen, unmet=lambda memory: step not in memory)


def _never(text: str, step: str) -> Property:
    return Property(text=text, see=_seen, broken=lambda memory: step in memory)


def _both(text: str, one: str, other: str) -> Property:
    return Property(text=text, see=_seen, broken=lambda memory: {one, other} <= memory)


def _matches(done: CompleteStep, step: str, ending: str) -> bool:
    ended = "fails" if done.outcome.error else "succeeds"
    return done.step.id == step and ending in ("", ended)


def _after(text: str, later: str, first: str, ending: str) -> Property:
    def see(memory: Memory, done: CompleteStep) -> Memory:
        if done.step.id == later:
            memory -= {"due"}
        return memory | {"due"} if _matches(done, first, ending) else memory

    return Property(text=text, see=see, unmet=lambda memory: "due" in memory)


def _not_after(text: str, later: str, first: str, ending: str) -> Property:
    def see(memory: Memory, done: CompleteStep) -> Memory:
        if done.step.id == later and "first" in memory:
            memory |= {"later"}
        return memory | {"first"} if _matches(done, first, ending) else memory

    return Property(text=text, see=see, broken=lambda memory: "later" in memory)


_MAKERS: dict[str, Callable[..., Property]] = {
    "no failure goes unhandled": _unhandled,
    f"no failure of {_STEP} goes unhandled": _unhandled,
    f"{_STEP} always runs": _always,
    f"{_STEP} never runs": _never,
    f"{_STEP} always runs after {_STEP}{_WHEN}": _after,
    f"{_STEP} never runs after {_STEP}{_WHEN}": _not_after,
    f"never both {_STEP} and {_STEP}": _both,
}


MOST = 6_000_000
"""How many steps all situations that are looked at may hold together: they are kept in memory."""


def answer(explorer: Explorer, question: Property, limit: int | None = None) -> PropertyResult:
    """Look at every situation that runs can come to, the nearest first, up to ``limit``."""
    limit = limit or MOST // max(30, len(explorer.plan.steps))
    start = explorer.start()
    waiting: deque[tuple[ExploredState, Memory]] = deque([(start, frozenset())])
    seen: set[Hashable] = set()
    while waiting and len(seen) < limit:
        node, memory = waiting.popleft()
        if question.broken(memory) or (node.ended and question.unmet(memory)):
            return _answer(question, _finish(explorer, node), len(seen), complete=True)
        for choice in explorer.choices(node):
            if choice.aborts:
                continue
            after = explorer.follow(node, choice)
            remembered = memory
            for done in after.path[len(node.path) :]:
                remembered = question.see(remembered, done)
            key = (situation(after), remembered)
            if key not in seen:
                seen.add(key)
                waiting.append((after, remembered))
    return _answer(question, None, len(seen), complete=not waiting)


def _finish(explorer: Explorer, node: ExploredState) -> ExploredRun:
    """The run to its end, in the usual way."""
    while not node.ended:
        node = explorer.follow(node, explorer.choices(node)[0])
    return node.run()


def _answer(
    question: Property, run: ExploredRun | None, situations: int, *, complete: bool
) -> PropertyResult:
    return PropertyResult(
        question=question, counterexample=run, situations=situations, complete=complete
    )
