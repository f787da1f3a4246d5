"""Split of a full decision table into sub-trees that can be built apart.

A sub-tree's rows depend on the rest of the table by one number alone: how many rows and waiting
runs there are when the table comes to it, because a full table follows only default choices. That
number is known from the counts of runs, without building the rows. So the parts, one after the
other, are the table that is built at once.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

from worker.explore.explorer import (
    DecisionTable,
    ExploredRun,
    ExploredState,
    Explorer,
    decision_table,
    situation,
)


@dataclass(frozen=True, slots=True)
class Subtree:
    """Rows below the run that these choices lead to, each an index among the choices there.

    ``before`` is the number of rows and waiting runs in the rest of the table.
    """

    choices: tuple[int, ...]
    before: int


@dataclass(frozen=True, slots=True)
class TablePart:
    """Rows of sub-trees, and what the explorer has pruned on the way, in its order."""

    table: DecisionTable
    not_possible: tuple[str, ...]


def split_table(
    explorer: Explorer, counts: Mapping[Hashable, int], limit: int, size: int
) -> list[tuple[Subtree, ...]]:
    """Split the table of every combination into parts of about ``size`` rows, in its order.

    ``counts`` are the runs that begin in each situation.
    """
    parts: list[tuple[Subtree, ...]] = []
    part: list[Subtree] = []
    rows = part_rows = 0
    waiting: list[tuple[ExploredState, tuple[int, ...]]] = [(explorer.start(), ())]
    while waiting:
        run, choices = waiting.pop()
        before = rows + len(waiting)
        # A full table has one row for each run that waits.
        count = 1 if before >= limit else counts[situation(run)]
        fills = before < limit < before + count
        if fills or count > size:
            following = [*enumerate(explorer.choices(run))]
            waiting += [
                (explorer.follow(run, choice), (*choices, index))
                for index, choice in reversed(following)
            ]
            continue
        part.append(Subtree(choices, before))
        rows += count
        part_rows += count
        if part_rows >= size or not waiting:
            parts.append(tuple(part))
            part, part_rows = [], 0
    return parts


def build_part(explorer: Explorer, subtrees: Iterable[Subtree], limit: int) -> TablePart:
    """Build the rows of sub-trees, with an explorer of their own."""
    tables = [
        decision_table(
            explorer,
            everything=True,
            limit=limit,
            start=_walk(explorer, subtree.choices),
            before=subtree.before,
        )
        for subtree in subtrees
    ]
    return TablePart(_join(tables), tuple(explorer.pruned))


def _walk(explorer: Explorer, choices: Iterable[int]) -> ExploredState:
    run = explorer.start()
    for index in choices:
        run = explorer.follow(run, explorer.choices(run)[index])
    return run


def join_parts(explorer: Explorer, parts: Iterable[TablePart]) -> DecisionTable:
    """Join the parts of a table, and note in the explorer what they have pruned."""
    parts = list(parts)
    for part in parts:
        explorer.pruned |= dict.fromkeys(part.not_possible)
    return _join([part.table for part in parts])


def _join(tables: Iterable[DecisionTable]) -> DecisionTable:
    rows: list[ExploredRun] = []
    pruned: dict[str, int] = {}
    for table in tables:
        rows += table.rows
        for reason, number in table.pruned.items():
            pruned[reason] = pruned.get(reason, 0) + number
    return DecisionTable(rows=tuple(rows), pruned=pruned)
