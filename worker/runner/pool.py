"""Runs of workflows: each is compiled, executed in the sandbox, and returned as a result.

:func:`run` and :func:`run_async` are the public functions; :class:`Pool` keeps processes ready
between runs.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from worker.adaptors.collections.open_host import open_host
from worker.adaptors.collections.settings import parse_collections
from worker.errors import PlanError, UsageError
from worker.runner.prepare import Options, check_workflow, prepare
from worker.runner.reach import local_reach
from worker.runner.result import Collector, Result
from worker.sandbox.isolation import Isolation
from worker.sandbox.limits import resolve_limits
from worker.sandbox.parent.condition_evaluator import ConditionEvaluator
from worker.sandbox.parent.host import Host
from worker.sandbox.parent.process_pool import ProcessPool
from worker.sandbox.protocol import RunRequest
from worker.workflow.model import Workflow

if TYPE_CHECKING:
    from worker.sinks.base import Sink


class Pool:
    """Pool of processes that runs at most ``size`` workflows at once.

    ``async with Pool(size=2) as pool: result = await pool.run(workflow, input)``
    """

    def __init__(self, size: int = 2, isolation: Isolation = Isolation.RUNNER) -> None:
        """Set what runs share; ``Isolation.PROCESS`` gives each run a new process.

        ``Isolation.STRICT`` raises :class:`UsageError` where the system lacks a layer of
        confinement.
        """
        self._processes = ProcessPool(size, isolation)
        self._pid = os.getpid()

    def boot(self) -> None:
        """Start the processes and return at once; the caller can load files meanwhile."""
        self._processes.boot()

    async def __aenter__(self) -> Pool:
        await self._processes.__aenter__()
        return self

    async def __aexit__(self, *reason: Any) -> None:
        await self._processes.close()

    @property
    def zygote_pid(self) -> int:
        """The id of the process that forks the processes of runs."""
        return self._processes.zygote_pid

    async def run(
        self,
        workflow: Workflow,
        input: Mapping[str, Any] | None = None,
        options: Options = Options(),
        *,
        sinks: Sequence[Sink] = (),
        cancel: asyncio.Event | None = None,
        run_id: str | None = None,
        host: Host | None = None,
    ) -> Result:
        """Run a workflow to its end, and return its result, even if the workflow fails.

        ``sinks`` receive the events as they happen; setting ``cancel`` ends the run. ``host``
        makes the network requests of adaptors; without one, ``options.allow_hosts`` decides. Raises
        :class:`UsageError` if ``input`` is not a JSON object.
        """
        if os.getpid() != self._pid:
            raise UsageError("a pool does not work in a fork of its process: create one there")
        collector = Collector(run_id or str(uuid.uuid4()), sinks)
        try:
            request = prepare(workflow, input, options, collector.run_id)
        except PlanError as error:
            # Like any other failure of a workflow: callers look at the status, not at exceptions.
            collector.reject(workflow.name, error)
        else:
            async with _host_or_default(host, workflow, input, options) as performer:
                await self._processes.execute(request, collector.receive, cancel, performer)
        return collector.result()


@contextlib.asynccontextmanager
async def _host_or_default(
    host: Host | None, workflow: Workflow, input: Mapping[str, Any] | None, options: Options
) -> AsyncIterator[Host | None]:
    if host is not None:
        yield host
        return
    if options.allow_hosts is None:
        yield _local_collections(options)
        return
    live = open_host(local_reach(workflow, input, options), options.collections)
    try:
        yield live
    finally:
        await live.close()


def _local_collections(options: Options) -> Host | None:
    place = parse_collections(options.collections)
    if place is None or place.folder is None:
        return None
    # Imported by the few runs that have collections and nothing else outside.
    from worker.adaptors.collections.local_host import CollectionsHost
    from worker.adaptors.collections.stores import FolderStore

    return CollectionsHost(FolderStore(place.folder))


async def start_evaluator(pool: Pool, request: RunRequest) -> ConditionEvaluator:
    """Start a process that evaluates the conditions of the request's plan."""
    # Not a method of the public class, because requests and evaluators are private.
    return await pool._processes.start_evaluator(request)


# --- runs without a pool or an event loop ---------------------------------------------------------


async def run_async(
    workflow: Workflow,
    input: Mapping[str, Any] | None = None,
    options: Options = Options(),
    *,
    sinks: Sequence[Sink] = (),
    cancel: asyncio.Event | None = None,
) -> Result:
    """Run one workflow in a pool for this run alone. See :meth:`Pool.run`."""
    async with Pool(size=1) as pool:
        return await pool.run(workflow, input, options, sinks=sinks, cancel=cancel)


def run(
    workflow: Workflow,
    input: Mapping[str, Any] | None = None,
    *,
    timeout: float | None = None,
    memory_mb: int | None = None,
    sinks: Sequence[Sink] = (),
    **options: Any,
) -> Result:
    """Run one workflow from code without an event loop, and return its result.

    ``timeout`` is in seconds; it and ``memory_mb`` count before the limits of the workflow's file.
    ``options`` are the fields of :class:`Options`. The processes stay ready for the next call.
    Raises :class:`UsageError` for an unknown option, and for a limit out of its range.
    """
    unknown = sorted(options.keys() - set(Options.__struct_fields__))
    if unknown:
        expected = ", ".join(Options.__struct_fields__)
        raise UsageError(f"unknown option '{unknown[0]}' (expected one of {expected})")
    # timeout and memory_mb are shortcuts, and limits that are given as options win.
    check_workflow(workflow)
    limits = resolve_limits(workflow.options, {"timeout_s": timeout, "memory_mb": memory_mb})
    options.setdefault("limits", limits)
    return run_with(workflow, input, Options(**options), sinks=sinks)


def run_with(
    workflow: Workflow,
    input: Mapping[str, Any] | None,
    options: Options,
    *,
    sinks: Sequence[Sink] = (),
) -> Result:
    """Run one workflow from code without an event loop, with its options in one value."""
    return background().run(workflow, input, options, sinks=sinks)


CLOSE_TIMEOUT_S = 5.0


class Background:
    """Event loop and pool in a thread, for callers without an event loop."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        # A daemon, so that a run that never ends does not keep the interpreter from exiting.
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.pool = Pool(size=os.cpu_count() or 2)

    def run(self, *arguments: Any, **options: Any) -> Result:
        """Run a workflow and wait for its result. The arguments are those of :meth:`Pool.run`."""
        if threading.current_thread() is self._thread:
            raise UsageError("a sink cannot start a run and wait for it: the event would wait too")
        call = self.pool.run(*arguments, **options)
        future = asyncio.run_coroutine_threadsafe(call, self.loop)
        try:
            return future.result()
        except BaseException:
            # Ctrl-C, or the stop button of a notebook: without this, the run would go on.
            future.cancel()
            raise

    def close(self) -> None:
        # The threads of a process are not copied to its forks, but its exit handlers are.
        if os.getpid() != self._pid:
            return
        # Bounded: this runs at exit, where a process that hangs must not hang the interpreter. It
        # ends with this one.
        closing = asyncio.run_coroutine_threadsafe(self.pool.__aexit__(), self.loop)
        try:
            closing.result(timeout=CLOSE_TIMEOUT_S)
        except TimeoutError:
            return
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=5)
        self.loop.close()


_shared: list[Background] = []
_lock = threading.Lock()


def background() -> Background:
    """Return the pool that all callers without an event loop share."""
    with _lock:
        if not _shared:
            _shared.append(Background())
            atexit.register(_shared[0].close)
        return _shared[0]


def _forget_background() -> None:
    # A fork has its own threads and processes. What is inherited is not collected as garbage
    # either: that would unregister the parent's sockets from the selector that both share.
    _inherited.extend(_shared)
    _shared.clear()
    _lock.release()


_inherited: list[Background] = []
# The lock is held during a fork, so that no other thread of the parent has it for ever in a child.
os.register_at_fork(
    before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_forget_background
)
