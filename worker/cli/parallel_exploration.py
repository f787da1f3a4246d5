"""Exploration on all cores: searches for states, and checks of properties that take long."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import dataclass, replace
from typing import Any

from worker.errors import WorkerError
from worker.explore.explorer import (
    DecisionTable,
    Explorer,
    Search,
    count_by_situation,
    decision_table,
    searches_of,
)
from worker.explore.properties import Property, PropertyResult, check_property, parse_property
from worker.explore.state_search import Witness
from worker.explore.subtrees import Subtree, TablePart, build_part, join_parts, split_table
from worker.runner.parallel import Handler, LocalExecutor, WorkExecutor, worthwhile_processes
from worker.runner.prepare import Options
from worker.runner.restarting_evaluator import RestartingEvaluator
from worker.workflow.model import Workflow

# Processor time of a search in this process, as measured on conditions with a few paths.
_SEARCH_S = 0.005
# Small parts, as the rows of a part cost their transfer; each is a few milliseconds of work.
_SUBTREE_ROWS = 500
_SUBTREE_S = 0.1
# A check of so many situations takes as long as the start of a process, or longer.
_SHORT_CHECK = 2_000
_LONG_CHECK_S = 0.6

Task = Callable[[Explorer], Any]
"""Part of an exploration; it can be pickled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelExploration:
    """Parts of an exploration that ``jobs`` processes execute where it is worth their start.

    A part that is lost with its process is executed by this one, as without processes.
    """

    workflow: Workflow
    options: Options
    jobs: int
    cluster: WorkExecutor | None = None

    def table(self, explorer: Explorer, *, everything: bool, limit: int) -> DecisionTable:
        """Build the decision table; one of every combination by sub-trees, on a cluster."""
        if self.cluster is None or not everything:
            return decision_table(explorer, everything=everything, limit=limit)
        # Another explorer: it comes to the conditions in another order than the table does.
        ahead = replace(explorer, pruned={}, witnesses={})
        counts = count_by_situation(ahead)
        if counts is None:
            return decision_table(explorer, everything=True, limit=limit)
        split = split_table(ahead, counts, limit, _SUBTREE_ROWS)
        tasks = [functools.partial(_build_part, subtrees=part, limit=limit) for part in split]
        explorer.searched = {**explorer.searched, **ahead.witnesses}
        parts = self._execute(explorer, tasks, _SUBTREE_S)
        return join_parts(
            explorer, [part or task(explorer) for part, task in zip(parts, tasks, strict=True)]
        )

    def _is_worthwhile(self, tasks: int, estimate_s: float) -> bool:
        if self.cluster is not None:
            return tasks > 0
        return worthwhile_processes(tasks, self.jobs, estimate_s * tasks) > 1

    def search_ahead(self, explorer: Explorer) -> None:
        """Make the searches that the exploration can come to, where they are many."""
        searches = searches_of(explorer.plan) if explorer.input is None else []
        if self._is_worthwhile(len(searches), _SEARCH_S):
            tasks = [functools.partial(_search, search=search) for search in searches]
            witnesses = self._execute(explorer, tasks, _SEARCH_S)
            explorer.searched = {
                search: states
                for search, states in zip(searches, witnesses, strict=True)
                if states is not None
            }

    def check(self, explorer: Explorer, properties: Sequence[Property]) -> list[PropertyResult]:
        """Check properties; those that take long in processes, if there are several."""
        results = [check_property(explorer, prop, limit=_SHORT_CHECK) for prop in properties]
        long = [number for number, result in enumerate(results) if not result.complete]
        for number, result in zip(long, self._check_long(explorer, properties, long), strict=True):
            results[number] = result
        return results

    def _check_long(
        self, explorer: Explorer, properties: Sequence[Property], numbers: Sequence[int]
    ) -> list[PropertyResult]:
        tasks = [functools.partial(_check, text=properties[number].text) for number in numbers]
        if min(self.jobs, len(tasks)) > 1 or self.cluster is not None:
            checked = self._execute(explorer, tasks, _LONG_CHECK_S)
        else:
            checked = [None for _ in tasks]
        results = []
        for task, outcome in zip(tasks, checked, strict=True):
            result, pruned = outcome or task(explorer)
            explorer.pruned |= pruned
            results.append(result)
        return results

    def _execute(self, explorer: Explorer, tasks: Sequence[Task], estimate_s: float) -> list[Any]:
        work = _ExplorationWork(
            workflow=self.workflow,
            options=self.options,
            input=explorer.input,
            searched={**explorer.searched, **explorer.witnesses},
        )
        executor = self.cluster or LocalExecutor(self.jobs)
        return asyncio.run(_collect(work, tasks, executor, estimate_s * len(tasks)))


async def _collect(
    work: _ExplorationWork, tasks: Sequence[Task], executor: WorkExecutor, estimate_s: float
) -> list[Any]:
    if not tasks:
        return []
    async with aclosing(executor.results_in_order(work, tasks, estimate_s)) as results:
        return [result async for result in results]


def _search(explorer: Explorer, *, search: Search) -> list[Witness]:
    return explorer.search(search)


def _check(explorer: Explorer, *, text: str) -> tuple[PropertyResult, dict[str, None]]:
    """Check a property; return the result, and what the exploration has pruned so far."""
    prop = parse_property(text, tuple(step.id for step in explorer.plan.steps))
    return check_property(explorer, prop), explorer.pruned


def _build_part(explorer: Explorer, *, subtrees: Sequence[Subtree], limit: int) -> TablePart:
    return build_part(explorer, subtrees, limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ExplorationWork:
    """Exploration as parallel work. The result of a lost task is ``None``."""

    workflow: Workflow
    options: Options
    input: str | None
    searched: Mapping[Search, list[Witness]]

    @asynccontextmanager
    async def open(self, slots: int) -> AsyncIterator[Handler[Task, Any]]:
        with closing(RestartingEvaluator(self.workflow, self.options)) as evaluator:
            yield functools.partial(self._handle, evaluator)

    async def _handle(
        self, evaluator: RestartingEvaluator, tasks: Sequence[Task]
    ) -> AsyncIterator[Any]:
        for task in tasks:
            # A new one each time: what an earlier task has pruned is not this one's.
            explorer = Explorer(
                plan=evaluator.plan, evaluate=evaluator, input=self.input, searched=self.searched
            )
            yield await asyncio.to_thread(_result_or_none, task, explorer)

    def lost(self, item: Task, cause: str) -> None:
        return None


def _result_or_none(task: Task, explorer: Explorer) -> Any:
    try:
        return task(explorer)
    except WorkerError:
        # The main process meets the same error, at the place where it belongs.
        return None
