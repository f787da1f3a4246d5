"""Installation of the adaptors that Lightning's runs lack, before they start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from worker.adaptors.install import install_unlocked
from worker.adaptors.missing import check_allowed, missing_adaptors
from worker.adaptors.names import Specifier
from worker.errors import WorkerError
from worker.sinks.log import LeveledLogger
from worker.workflow.model import Workflow

Install = Callable[[Specifier], object]


class AdaptorInstaller:
    """Installs adaptors of OpenFn's scope and those in ``allowed``.

    Runs that lack the same adaptor at the same time share one installation.
    """

    def __init__(
        self, allowed: Collection[str], log: LeveledLogger, install: Install = install_unlocked
    ) -> None:
        self._allowed = allowed
        self._log = log
        self._install = install
        self._under_way: dict[Specifier, asyncio.Task[None]] = {}

    async def install_missing(self, workflow: Workflow) -> None:
        """Install what the workflow lacks. Raises :class:`WorkerError` where that fails."""
        missing = missing_adaptors(workflow)
        check_allowed(missing, self._allowed)
        for specifier in missing:
            # Shielded: a run that ends meanwhile must not take the installation from the others.
            await asyncio.shield(self._installation(specifier))

    def _installation(self, specifier: Specifier) -> asyncio.Task[None]:
        task = self._under_way.get(specifier)
        if task is None:
            task = asyncio.create_task(self._perform(specifier))
            self._under_way[specifier] = task
            task.add_done_callback(lambda done: self._end(specifier, done))
        return task

    def _end(self, specifier: Specifier, task: asyncio.Task[None]) -> None:
        del self._under_way[specifier]
        # Looked at, as all runs that waited for it may have ended.
        if not task.cancelled():
            task.exception()

    async def _perform(self, specifier: Specifier) -> None:
        self._log.info("adaptor.installing", adaptor=str(specifier))
        try:
            # In a thread: npm takes seconds, in which claims and other runs go on.
            await asyncio.to_thread(self._install, specifier)
        except (WorkerError, OSError) as error:
            self._log.warning("adaptor.failed", adaptor=str(specifier), error=str(error)[:500])
            raise WorkerError(f"Error installing {specifier}: {error}") from error
        self._log.info("adaptor.installed", adaptor=str(specifier))
