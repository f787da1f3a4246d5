"""Plugin of Dask workers: executes chunks, and keeps warm runners between them."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from distributed import WorkerPlugin, get_worker

from worker.cluster.environments import Environment, check_same, describe_runner
from worker.errors import WorkerError
from worker.runner.parallel import Handler, Work

# Runners that nobody uses end: the client may have been killed, and could not remove the plugin.
_IDLE_S = 300.0


class ChunkRunner(WorkerPlugin):
    """Runners of one command on a Dask worker; each serves one chunk at a time.

    The plugin carries the work, with its workflows: chunks have only their items.
    """

    # Registered again on a worker that the scheduler already knows it for: kept as it is.
    idempotent = True

    def __init__(self, session: str, encoded_work: bytes, client: Environment) -> None:
        self.name = session
        self._encoded_work = encoded_work
        self._client = client

    def setup(self, worker: Any) -> None:
        """Prepare to execute chunks; runners start with the first of them."""
        self._address = worker.address
        self._is_checked = False
        self._idle: list[_Runner] = []
        self._closing: asyncio.TimerHandle | None = None

    async def teardown(self, worker: Any) -> None:
        """End the runners."""
        self._cancel_closing()
        while self._idle:
            await self._idle.pop().close()

    async def handle(self, items: list[Any]) -> list[Any]:
        """Handle items, and return their results in order."""
        self._cancel_closing()
        self._check()
        runner = self._idle.pop() if self._idle else await _Runner.open(self._encoded_work)
        try:
            results = await runner.handle(items)
        except BaseException:
            # It may still execute what was cancelled.
            await runner.close()
            raise
        self._idle.append(runner)
        loop = asyncio.get_running_loop()
        self._closing = loop.call_later(_IDLE_S, self._close_idle)
        return results

    def _check(self) -> None:
        """Raise :class:`WorkerError` where this worker has other versions than the client."""
        # The client has checked the workers that it began with; others can have joined since.
        if not self._is_checked:
            check_same(f"the Dask worker {self._address}", self._client, describe_runner())
            self._is_checked = True

    def _cancel_closing(self) -> None:
        if self._closing is not None:
            self._closing.cancel()

    def _close_idle(self) -> None:
        self._ending = asyncio.ensure_future(self.teardown(None))


class _Runner:
    """Handler of the work with what it holds: one pool of processes."""

    def __init__(self, handle: Handler[Any, Any], resources: AsyncExitStack) -> None:
        self._handle, self._resources = handle, resources

    @classmethod
    async def open(cls, encoded_work: bytes) -> _Runner:
        # Pickled by a client of the same version, and by nobody else: see `_check`.
        work: Work[Any, Any] = pickle.loads(encoded_work)  # noqa: S301
        resources = AsyncExitStack()
        return cls(await resources.enter_async_context(work.open(1)), resources)

    async def handle(self, items: list[Any]) -> list[Any]:
        return [result async for result in self._handle(items)]

    async def close(self) -> None:
        # Processes that ended already are no failure of the chunk.
        with contextlib.suppress(OSError):
            await self._resources.aclose()


async def handle_chunk(session: str, chunk: bytes) -> bytes:
    """Handle the items of a chunk; return the pickled results and the seconds that they took.

    Bytes both ways, so that the scheduler does not unpickle what it only passes on.
    """
    worker = get_worker()
    plugins: Mapping[str, ChunkRunner] = worker.plugins
    if session not in plugins:
        raise WorkerError(
            f"the Dask worker {worker.address} could not prepare: it has another version of worker"
        )
    began = time.perf_counter()
    items = [pickle.loads(item) for item in pickle.loads(chunk)]  # noqa: S301
    results = await plugins[session].handle(items)
    return pickle.dumps((results, time.perf_counter() - began), pickle.HIGHEST_PROTOCOL)
