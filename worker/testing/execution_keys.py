"""Keys that select executions of a step: ``"*"`` all, ``"0"`` the first, ``"1-2"`` two. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from worker.workflow.documents.cursor import Cursor

# Nine digits at most, as int() raises on a text of thousands of digits.
EXECUTIONS = r"\*|\d{1,9}(-\d{1,9})?"


class Executions(NamedTuple):
    """Executions ``first`` to ``last`` of a step, ``None`` for all later ones, and their key."""

    key: str
    first: int
    last: int | None

    def covers(self, execution: int) -> bool:
        return self.first <= execution and (self.last is None or execution <= self.last)


def has_execution_keys(value: object) -> bool:
    """Return True for an object whose keys all select executions."""
    # Decided by the keys, so a state whose keys are all numbers has to be put under "*".
    keys = value if isinstance(value, Mapping) else {}
    return bool(keys) and all(re.fullmatch(EXECUTIONS, key) for key in keys)


def by_execution(node: Cursor) -> Iterator[tuple[Executions, Cursor]]:
    """Split a node into its entries by execution, or take it for all executions."""
    if not has_execution_keys(node.value):
        yield Executions("*", 0, None), node
        return
    for key, entry in node.items():
        yield _executions(key, entry), entry


def first_by_execution(node: Cursor) -> Iterator[tuple[Executions, Cursor]]:
    """Split a node of which the first entry counts that covers an execution.

    Fails at an entry that would never count.
    """
    earlier: list[Executions] = []
    for executions, entry in by_execution(node):
        if hiding := _hiding(executions, earlier):
            keys = " and ".join(f"'{each.key}'" for each in hiding)
            entry.fail(
                f"'{executions.key}' is never used, as {keys} before it has all its executions: "
                f"write '{executions.key}' first"
            )
        earlier.append(executions)
        yield executions, entry


def _executions(key: str, node: Cursor) -> Executions:
    if key == "*":
        return Executions(key, 0, None)
    first, _, last = key.partition("-")
    if int(last or first) < int(first):
        node.fail(f"'{key}' has no execution: write '{last}-{first}'")
    return Executions(key, int(first), int(last or first))


def _hiding(executions: Executions, earlier: Sequence[Executions]) -> list[Executions]:
    """Return the earlier entries that together have all these executions, if they do."""
    hiding: list[Executions] = []
    execution = executions.first
    while executions.covers(execution):
        entry = next((each for each in earlier if each.covers(execution)), None)
        if entry is None:
            return []
        hiding.append(entry)
        if entry.last is None:
            break
        execution = entry.last + 1
    return hiding
