"""Runs of workflows: each is compiled, executed in the sandbox, and returned as a result.

:func:`run` and :func:`run_async` are the public functions; :class:`Pool` keeps processes ready
between runs.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Unpack

from msgspec.structs import replace

from worker.adaptors.collections.open_host import open_host
from worker.errors import PlanError, UsageError
from worker.runner.prepare import Options, compiles_long, prepare, rejection
from worker.runner.reach import local_reach
from worker.runner.result import Collector, Result
from worker.runner.run_fields import RunFields, options_of, shares_run_fields
from worker.sandbox.isolation import Isolation
from worker.sandbox.parent.condition_evaluator import ConditionEvaluator
from worker.sandbox.parent.host import Host
from worker.sandbox.parent.process_pool import ProcessPool
from worker.sandbox.protocol import RealmContents, RunRequest
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
        self._compiler = _new_compiler()
        self._pid = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None

    def boot(self, *, metered: bool = False) -> None:
        """Start the processes and return at once; the caller can load files meanwhile.

        Runs with fuel need ``metered`` ones.
        """
        self._processes.boot(RealmContents(metered=metered))

    async def __aenter__(self) -> Pool:
        await self._processes.__aenter__()
        return self

    async def __aexit__(self, *reason: Any) -> None:
        await self._processes.close()
        self._compiler.shutdown(wait=False, cancel_futures=True)
        self._compiler = _new_compiler()
        self._loop = None

    @property
    def zygote_pid(self) -> int:
        """The id of the process that forks the processes of runs."""
        return self._processes.zygote_pid

    @shares_run_fields
    async def run(
        self,
        workflow: Workflow,
        input: Mapping[str, Any] | None = None,
        options: Options | None = None,
        *,
        sinks: Sequence[Sink] = (),
        cancel: asyncio.Event | None = None,
        run_id: str | None = None,
        host: Host | None = None,
        **fields: Unpack[RunFields],
    ) -> Result:
        """Run a workflow to its end, and return its result, even if the workflow fails.

        ``options`` holds all options at once; without it, ``fields`` are its fields, and limits
        such as ``timeout`` (in seconds) and ``memory_mb``. ``sinks`` receive the events as they
        happen; setting ``cancel`` ends the run. ``host`` makes the network requests of adaptors;
        without one, steps reach the hosts of their credentials, and those of ``allow_hosts``.
        Raises :class:`UsageError` for a wrong argument, before anything starts.
        """
        if os.getpid() != self._pid:
            raise UsageError("a pool does not work in a fork of its process: create one there")
        loop = self._loop = self._loop or asyncio.get_running_loop()
        if loop is not asyncio.get_running_loop():
            raise UsageError("a pool works in the event loop of its first run: create one there")
        options = options_of(workflow, options, fields)
        check_arguments(sinks, cancel, run_id)
        collector = Collector(run_id or str(uuid.uuid4()), sinks)
        encoded = None
        try:
            arguments = workflow, input, options, collector.run_id
            if compiles_long(workflow):
                request = await self._prepare_in_thread(*arguments)
            else:
                request = prepare(*arguments)
        except PlanError as error:
            # Like any other failure of a workflow: callers look at the status, not at exceptions.
            collector.reject(workflow.name, rejection(workflow, options, error))
        else:
            encoded = request.input
            own = None
            if host is None:
                reach = local_reach(workflow, input, options)
                host = own = open_host(reach, options.collections)
            try:
                await self._processes.execute(request, collector.receive, cancel, host)
            finally:
                if own is not None:
                    await own.close()
        return replace(collector.result(), workflow=workflow, input_text=encoded)

    async def _prepare_in_thread(self, *arguments: Any) -> RunRequest:
        # Beside the other runs, which would wait for their events.
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._compiler, prepare, *arguments)


def _new_compiler() -> ThreadPoolExecutor:
    # One thread: workflows that take long wait for each other, and no other waits for them.
    return ThreadPoolExecutor(1, thread_name_prefix="compiler")


async def start_evaluator(pool: Pool, request: RunRequest) -> ConditionEvaluator:
    """Start a process that evaluates the conditions of the request's plan."""
    # Not a method of the public class, because requests and evaluators are private.
    return await pool._processes.start_evaluator(request)


# --- runs without a pool or an event loop ---------------------------------------------------------


@shares_run_fields
async def run_async(
    workflow: Workflow,
    input: Mapping[str, Any] | None = None,
    options: Options | None = None,
    *,
    sinks: Sequence[Sink] = (),
    cancel: asyncio.Event | None = None,
    run_id: str | None = None,
    host: Host | None = None,
    **fields: Unpack[RunFields],
) -> Result:
    """Run one workflow in a pool for this run alone. See :meth:`Pool.run`."""
    options = options_of(workflow, options, fields)
    async with Pool(size=1) as pool:
        return await pool.run(
            workflow, input, options, sinks=sinks, cancel=cancel, run_id=run_id, host=host
        )


@shares_run_fields
def run(
    workflow: Workflow,
    input: Mapping[str, Any] | None = None,
    options: Options | None = None,
    *,
    sinks: Sequence[Sink] = (),
    cancel: threading.Event | None = None,
    run_id: str | None = None,
    host: Host | None = None,
    **fields: Unpack[RunFields],
) -> Result:
    """Run one workflow from code without an event loop, and return its result.

    The arguments are those of :meth:`Pool.run`, but for ``cancel``, which another thread sets.
    Ctrl-C ends the run. The processes stay ready for the next call.
    """
    options = options_of(workflow, options, fields)
    check_arguments(sinks, cancel, run_id)
    return background().run(
        workflow, input, options, sinks=sinks, cancel=cancel, run_id=run_id, host=host
    )


CLOSE_TIMEOUT_S = 5.0
_CANCEL_INTERVAL_S = 0.05


class Background:
    """Event loop and pool in a thread, for callers without an event loop."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        # A daemon, so that a run that never ends does not keep the interpreter from exiting.
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.pool = Pool(size=os.cpu_count() or 2)

    def run(self, *arguments: Any, cancel: threading.Event | None = None, **options: Any) -> Result:
        """Run a workflow and wait for its result. The arguments are those of :func:`run`."""
        if threading.current_thread() is self._thread:
            raise UsageError("a sink cannot start a run and wait for it: the event would wait too")
        call = self._cancellable(cancel, *arguments, **options)
        future = asyncio.run_coroutine_threadsafe(call, self.loop)
        try:
            return future.result()
        except BaseException:
            # Ctrl-C, or the stop button of a notebook: without this, the run would go on.
            future.cancel()
            raise

    async def _cancellable(
        self, cancel: threading.Event | None, *arguments: Any, **options: Any
    ) -> Result:
        if cancel is None:
            return await self.pool.run(*arguments, **options)
        cancelled = asyncio.Event()
        watching = asyncio.create_task(_set_with(cancel, cancelled))
        try:
            return await self.pool.run(*arguments, cancel=cancelled, **options)
        finally:
            watching.cancel()

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


async def _set_with(cancel: threading.Event, cancelled: asyncio.Event) -> None:
    # A loop cannot wait for an event of threads; a thread that waits would outlive the run.
    while not cancel.is_set():  # noqa: ASYNC110
        await asyncio.sleep(_CANCEL_INTERVAL_S)
    cancelled.set()


def check_arguments(sinks: object, cancel: object, run_id: object) -> None:
    """Raise :class:`UsageError` for arguments of a wrong type."""
    if not isinstance(sinks, Sequence) or not all(hasattr(sink, "receive") for sink in sinks):
        raise UsageError("sinks: expected a list of sinks, which have receive() and close()")
    if cancel is not None and not hasattr(cancel, "is_set"):
        raise UsageError(f"cancel: expected an event, found a {type(cancel).__name__}")
    if run_id is not None and not (isinstance(run_id, str) and run_id):
        raise UsageError(f"run_id: expected a text, found {run_id!r}")


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
