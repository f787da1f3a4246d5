"""Invariants of rows, messages and the outbox. They are checked in production too.

A broken one is counted by its name, for a metric, and logged. :func:`require`, before something is
written, raises :class:`InvariantError`; :func:`note`, after something is read, does not, because a
row that cannot be used must not stop the others.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

MAX_NEWS = 100
"""How many texts wait to be logged."""


class Invariant(StrEnum):
    """The invariants, by the place where they are checked."""

    ROW_READ = "row_read"
    ROW_WRITTEN = "row_written"
    MESSAGE_SENT = "message_sent"
    OUTBOX_WRITTEN = "outbox_written"
    OUTBOX_ACKNOWLEDGED = "outbox_acknowledged"


broken: Counter[Invariant] = Counter()
"""How often each was broken since the start of the process."""
_news: list[tuple[Invariant, str]] = []


class InvariantError(AssertionError):
    """A value that breaks an invariant."""


def note(invariant: Invariant, problem: str) -> None:
    """Count a problem; an empty text is none."""
    if problem:
        broken[invariant] += 1
        if len(_news) < MAX_NEWS:
            _news.append((invariant, problem))


def require(invariant: Invariant, problem: str) -> None:
    """Count a problem and raise :class:`InvariantError`; an empty text is none."""
    if problem:
        note(invariant, problem)
        raise InvariantError(f"{invariant}: {problem}")


def take_news() -> list[tuple[Invariant, str]]:
    """Return the problems that were noted since the last call, with their invariants."""
    if not _news:
        return []
    news = list(_news)
    _news.clear()
    return news
