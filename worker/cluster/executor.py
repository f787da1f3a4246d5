"""Executor of parallel work on a Dask cluster.

The items are read as a stream and sent in chunks. The client holds a bounded number of chunks: the
next is sent when the results of the oldest were taken. Dask does the chunks of a lost worker
again. A result is counted once, by its chunk, whichever attempt at it was the successful one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import pickle
import uuid
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Generic

from distributed import Client, KilledWorker
from distributed.client import FutureCancelledError

from worker.cluster import cluster_client
from worker.cluster.chunk_runner import ChunkRunner, handle_chunk
from worker.cluster.chunks import MAX_BYTES, ChunkSizer
from worker.cluster.cluster_address import ClusterAddress
from worker.cluster.cluster_client import open_client
from worker.errors import WorkerError, reason_of
from worker.runner.parallel import Item, Result, Work
from worker.util.plural import count_of

# Chunks beyond those that execute: one that waits at each slot, and one whose results wait here.
_CHUNKS_PER_SLOT = 3
# A worker that is started again needs some seconds; nobody starts one that gave up on it.
_WORKERLESS_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterExecutor:
    """Executes work on a cluster; ``workers`` is their number in a cluster on this machine."""

    address: ClusterAddress
    workers: int

    @property
    def is_local(self) -> bool:
        return self.address.is_local

    async def results_in_order(
        self, work: Work[Item, Result], items: Sequence[Item], estimate_s: float
    ) -> AsyncGenerator[Result, None]:
        """Handle all items on the cluster, and yield the results in order.

        Closing the generator cancels what is not finished.
        """
        async with (
            open_client(self.address, self.workers) as client,
            _session(client, work) as session,
            aclosing(session.results(items)) as results,
        ):
            async for result in results:
                yield result


@contextlib.asynccontextmanager
async def _session(
    client: Client, work: Work[Item, Result]
) -> AsyncIterator[_Session[Item, Result]]:
    name = f"worker-{uuid.uuid4()}"
    runner = ChunkRunner(name, _encode(work), cluster_client.describe_here())
    await client.register_plugin(runner)
    slots = sum((await client.nthreads()).values())
    session = _Session(client, work, name, slots)
    try:
        yield session
    finally:
        await session.cancel()
        # A scheduler that is lost has lost the plugin too.
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            await client.unregister_worker_plugin(name)


@dataclass(frozen=True, slots=True)
class _Chunk(Generic[Item]):
    items: list[Item]
    future: Any


class _Session(Generic[Item, Result]):
    """Chunks of one work on their way through the cluster."""

    def __init__(self, client: Client, work: Work[Item, Result], name: str, slots: int) -> None:
        self._client, self._work, self._name = client, work, name
        self._most_chunks = slots * _CHUNKS_PER_SLOT
        self._sizer = ChunkSizer(slots=slots)
        self._numbers = itertools.count()
        self._sent: deque[_Chunk[Item]] = deque()

    async def results(self, items: Sequence[Item]) -> AsyncGenerator[Result, None]:
        """Send the items in chunks, and yield the results in order."""
        waiting, left = iter(items), len(items)
        while left or self._sent:
            while left and len(self._sent) < self._most_chunks:
                most = self._sizer.most_items(left)
                # In a thread: items may be read from a slow disk or from a network.
                part, encoded = await asyncio.to_thread(_take, waiting, most)
                left -= len(part)
                self._sent.append(self._send(part, encoded))
            for result in await self._completed(self._sent[0]):
                yield result
            self._sent.popleft()

    def _send(self, items: list[Item], encoded: bytes) -> _Chunk[Item]:
        # The key is the chunk's identity: Dask executes a key until it has one result for it.
        key = f"{self._name}-{next(self._numbers)}"
        future = self._client.submit(handle_chunk, self._name, encoded, key=key, pure=False)
        return _Chunk(items, future)

    async def _completed(self, chunk: _Chunk[Item]) -> list[Result]:
        try:
            return await self._results_of(chunk)
        except KilledWorker:
            return [await self._alone(item) for item in chunk.items]

    async def _results_of(self, chunk: _Chunk[Item]) -> list[Result]:
        try:
            returned = await self._awaited(chunk.future)
        except (asyncio.CancelledError, FutureCancelledError, OSError) as error:
            # Dask cancels its futures itself when the scheduler is lost.
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            raise WorkerError(
                "the connection to the Dask scheduler was lost: start it again, and the command"
            ) from error
        results, seconds = _decode(returned, len(chunk.items))
        self._sizer = self._sizer.measured(len(chunk.items), seconds)
        return results

    async def _awaited(self, future: Any) -> Any:
        """Await a result, which never comes from a cluster whose workers have all ended."""
        result = asyncio.ensure_future(future.result())
        had_workers = True
        try:
            while not (await asyncio.wait((result,), timeout=_WORKERLESS_S))[0]:
                has_workers = bool(await self._client.nthreads())
                if not has_workers and not had_workers:
                    raise WorkerError(
                        "all Dask workers have ended, and none was started again\n"
                        "start some, and the command again"
                    )
                had_workers = has_workers
            return await result
        finally:
            result.cancel()

    async def _alone(self, item: Item) -> Result:
        """Handle an item again, alone; only one that ends its workers once more is lost."""
        chunk = self._send([item], _encode([_encode(item)]))
        try:
            (result,) = await self._results_of(chunk)
        except KilledWorker as error:
            return self._work.lost(item, f"ended {error.allowed_failures + 1} Dask workers")
        return result

    async def cancel(self) -> None:
        """Cancel the chunks that are not finished."""
        futures = [chunk.future for chunk in self._sent]
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            await self._client.cancel(futures, force=True)


def _take(items: Iterator[Item], most: int) -> tuple[list[Item], bytes]:
    """Take the next items, up to a number and a size; return them, and pickled."""
    part: list[Item] = []
    encoded: list[bytes] = []
    size_bytes = 0
    for item in itertools.islice(items, most):
        part.append(item)
        encoded.append(_encode(item))
        size_bytes += len(encoded[-1])
        if size_bytes >= MAX_BYTES:
            break
    return part, _encode(encoded)


def _decode(returned: Any, count: int) -> tuple[list[Any], float]:
    """Return the results of a chunk of ``count`` items, and its seconds.

    Raises :class:`WorkerError` for anything else: a defect, or other code, of a Dask worker. This
    is no protection against malicious ones: each part of a cluster executes code in all others.
    """
    try:
        match pickle.loads(returned):  # noqa: S301
            case list(results), float(seconds) if len(results) == count and seconds >= 0:
                return results, seconds
    except Exception as error:
        raise WorkerError(
            f"a Dask worker returned an unreadable result: {reason_of(error)}"
        ) from error
    raise WorkerError(f"a Dask worker did not return the results of {count_of(count, 'item')}")


def _encode(value: Any) -> bytes:
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
