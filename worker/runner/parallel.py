"""Parallel work of one command: items are shared among processes, and results come in order.

Little work stays in this process, where a pool executes several runs at once all the same. Much
work goes to processes, each of which handles batches of items with a pool of its own. The results
are the same either way.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

from worker.errors import WorkerError
from worker.runner.batch_process import encode_frame, read_frame
from worker.sandbox import child_process

Item = TypeVar("Item")
Result = TypeVar("Result")
Item_contra = TypeVar("Item_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)

Handler = Callable[[Sequence[Item]], AsyncIterator[Result]]
"""Handles items and yields their results in order. What goes wrong with an item is its result."""

START_S = 0.3
"""Processor seconds that it takes to start one process and its pool."""

# Small enough for all processes to end at about the same time; large enough to hide round trips.
_MAX_BATCH = 32
_BATCHES_PER_PROCESS = 8
_EXIT_TIMEOUT_S = 5.0


class Work(Protocol[Item_contra, Result_co]):
    """Way to handle the items of a command. It is pickled into each process."""

    def open(self, slots: int) -> AbstractAsyncContextManager[Handler[Item_contra, Result_co]]:
        """Return a context with a handler that executes ``slots`` runs at once."""

    def lost(self, item: Item_contra, cause: str) -> Result_co:
        """Return the result of an item that has ended its process."""


class WorkExecutor(Protocol):
    """Executes work: in processes of this machine, or on other machines."""

    @property
    def is_local(self) -> bool:
        """True where the work is done on this machine, and can read its files itself."""

    def results_in_order(
        self, work: Work[Item, Result], items: Sequence[Item], estimate_s: float
    ) -> AsyncGenerator[Result, None]:
        """Handle all items and yield the results in order; ``estimate_s`` is processor time.

        Closing the generator ends what still executes.
        """


@dataclass(frozen=True, slots=True)
class LocalExecutor:
    """Executes work in up to ``jobs`` processes of this machine."""

    jobs: int

    @property
    def is_local(self) -> bool:
        return True

    def results_in_order(
        self, work: Work[Item, Result], items: Sequence[Item], estimate_s: float
    ) -> AsyncGenerator[Result, None]:
        return results_in_order(work, items, self.jobs, estimate_s)


def worthwhile_processes(items: int, jobs: int, estimate_s: float) -> int:
    """Compute how many processes are worth their start; up to 1, this process does the work."""
    return min(jobs, items, int(estimate_s / START_S))


async def results_in_order(
    work: Work[Item, Result], items: Sequence[Item], jobs: int, estimate_s: float
) -> AsyncGenerator[Result, None]:
    """Handle all items in up to ``jobs`` processes, and yield the results in order.

    ``estimate_s`` is the processor time that one process would need. Closing the generator ends
    all processes.
    """
    processes = worthwhile_processes(len(items), jobs, estimate_s)
    if processes > 1:
        results = _Sharing(work, items, processes).results()
    else:
        results = _in_this_process(work, items, jobs)
    async with aclosing(results):
        async for result in results:
            yield result


async def _in_this_process(
    work: Work[Item, Result], items: Sequence[Item], slots: int
) -> AsyncGenerator[Result, None]:
    async with work.open(slots) as handle:
        async for result in handle(items):
            yield result


@dataclass(frozen=True, slots=True)
class _Unfinished:
    """Items whose results a process owed when it ended, and the cause of its end."""

    indices: tuple[int, ...]
    cause: str


class _Sharing(Generic[Item, Result]):
    """Items that several processes handle; each is known by its index."""

    def __init__(self, work: Work[Item, Result], items: Sequence[Item], processes: int) -> None:
        self._work, self._items, self._processes = work, items, processes
        self._encoded_work = encode_frame(work)
        self._is_broken = False
        loop = asyncio.get_running_loop()
        self._results: list[asyncio.Future[Result]] = [loop.create_future() for _ in items]
        self._size = max(1, min(_MAX_BATCH, len(items) // (processes * _BATCHES_PER_PROCESS)))
        starts = range(0, len(items), self._size)
        self._batches = deque(range(len(items))[start : start + self._size] for start in starts)

    async def results(self) -> AsyncGenerator[Result, None]:
        """Start the processes, and yield the results in order."""
        tasks = [asyncio.create_task(self._serve()) for _ in range(self._processes)]
        for task in tasks:
            task.add_done_callback(self._on_end)
        try:
            for result in self._results:
                yield await result
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or (error := task.exception()) is None or self._is_broken:
            return
        self._is_broken = True
        # The caller waits for the first of them, and would wait for ever.
        if (first := next((r for r in self._results if not r.done()), None)) is not None:
            first.set_exception(error)

    async def _serve(self) -> None:
        """Have processes handle batches, one process after the other, until no batch is left."""
        while self._batches:
            unfinished = await self._feed(self._batches, ahead=self._size)
            if unfinished is not None:
                await self._repeat(unfinished.indices)

    async def _repeat(self, indices: Sequence[int]) -> None:
        """Handle items again, each alone; only one that ends its process once more is lost."""
        alone = deque(range(index, index + 1) for index in indices)
        while alone:
            unfinished = await self._feed(alone, ahead=0)
            if unfinished is not None:
                (index,) = unfinished.indices
                lost = self._work.lost(self._items[index], unfinished.cause)
                self._results[index].set_result(lost)

    async def _feed(self, batches: deque[range], ahead: int) -> _Unfinished | None:
        """Have one process handle the batches; return what it owes if it ends early.

        It gets its next batch when it owes at most ``ahead`` results, so that it need not wait.
        """
        owed = deque[int]()
        async with _BatchProcess(self._encoded_work) as process:
            try:
                while batches or owed:
                    while batches and len(owed) <= ahead:
                        batch = batches.popleft()
                        owed += batch
                        await process.send([self._items[index] for index in batch])
                    for result in await process.receive():
                        self._results[owed.popleft()].set_result(result)
            except (EOFError, ConnectionError):
                return _Unfinished(tuple(owed), process.cause_of_end())
        return None


class _BatchProcess:
    """One process of :mod:`worker.runner.batch_process`, from its start to its end."""

    def __init__(self, encoded_work: bytes) -> None:
        self._encoded_work = encoded_work

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except WorkerError:
            # It may have been killed like any other process; a second failure has another cause.
            await self._start()
        return self

    async def _start(self) -> None:
        self._process, channel = child_process.start("worker.runner.batch_process")
        self._reader, self._writer = await asyncio.open_connection(sock=channel)
        try:
            self._writer.write(self._encoded_work)
            await self.receive()
        except (EOFError, ConnectionError) as error:
            cause = self.cause_of_end()
            await self.__aexit__()
            raise WorkerError(f"a process did not start: it {cause}") from error
        except asyncio.CancelledError:
            await self.__aexit__()
            raise

    async def __aexit__(self, *reason: object) -> None:
        self._writer.close()
        self._kill()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    def _kill(self) -> None:
        # Not asked to end: nothing of it is wanted any more, and its sandbox ends with it.
        self._process.kill()
        self._process.wait()

    async def send(self, batch: Sequence[Any]) -> None:
        self._writer.write(encode_frame(batch))
        await self._writer.drain()

    async def receive(self) -> list[Any]:
        results: list[Any] = await read_frame(self._reader)
        return results

    def cause_of_end(self) -> str:
        """Describe how the process ended, after its channel was closed."""
        try:
            code = self._process.wait(_EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._kill()
            return "closed its channel"
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
