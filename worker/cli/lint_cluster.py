"""Lint on a cluster: files are read here, and their workflows checked there."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from worker.errors import LoadError, WorkerError
from worker.lint.checks import lint_loaded, without_suppressed
from worker.lint.findings import Finding
from worker.runner.parallel import Handler, WorkExecutor
from worker.runner.pool import Pool
from worker.workflow.load import load_all
from worker.workflow.model import Workflow

# Processor time of the checks of one file, as measured.
_LINT_S = 0.02

Loaded = list[Workflow] | LoadError


async def lint_on_cluster(
    executor: WorkExecutor, files: Sequence[Path], workflow: str | None
) -> tuple[list[Finding], list[LoadError]]:
    """Check files; return their findings, and the errors of those that cannot be read."""
    findings: list[Finding] = []
    unreadable: list[LoadError] = []
    loaded = _LoadedFiles(files, workflow)
    results = executor.results_in_order(_LintWork(), loaded, _LINT_S * len(files))
    async with aclosing(results):
        async for result in results:
            if isinstance(result, LoadError):
                unreadable.append(result)
            else:
                findings += without_suppressed(*result)
    return findings, unreadable


class _LoadedFiles(Sequence[Loaded]):
    """Workflows of files, each file loaded when it is sent."""

    def __init__(self, files: Sequence[Path], workflow: str | None) -> None:
        self._files, self._workflow = files, workflow

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: Any) -> Any:
        try:
            return load_all(self._files[index], workflow=self._workflow, located=True)
        except LoadError as error:
            return error


class _LintWork:
    """Lint as parallel work. A result has the workflows too, whose comments are read here."""

    @asynccontextmanager
    async def open(self, slots: int) -> AsyncIterator[Handler[Loaded, Any]]:
        async with Pool(size=slots) as pool:
            yield functools.partial(self._handle, pool)

    async def _handle(self, pool: Pool, items: Sequence[Loaded]) -> AsyncIterator[Any]:
        for item in items:
            yield item if isinstance(item, LoadError) else (item, await lint_loaded(pool, item))

    def lost(self, item: Loaded, cause: str) -> Any:
        raise WorkerError(f"the process that checked a file {cause}")
