"""From a workflow to a result: compile, execute in a process of its own, collect the events.

``run`` and ``run_async`` are what users call; :class:`Pool` keeps the processes warm between runs.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import os
import threading
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from worker.errors import PlanError
from worker.runner.prepare import Options, prepare
from worker.runner.result import Collector, PathEntry, Result
from worker.sandbox.limits import Limits
from worker.sandbox.parent.condition_evaluator import ConditionEvaluator
from worker.sandbox.parent.host import Host
from worker.sandbox.parent.process_pool import ProcessPool
from worker.sandbox.protocol import RunRequest
from worker.workflow.model import Workflow

if TYPE_CHECKING:
    from worker.sinks.base import Sink


class Pool:
    """Runs workflows, at most ``size`` at once, each run in a process of its own.

    ``async with Pool(size=2) as pool: result = await pool.run(workflow, input)``
    """

    def __init__(self, size: int = 2) -> None:
        self._processes = ProcessPool(size)

    def boot(self) -> None:
        """Start the processes without waiting for them: there is a file to load meanwhile."""
        self._processes.boot()

    async def __aenter__(self) -> Pool:
        await self._processes.__aenter__()
        return self

    async def __aexit__(self, *reason: Any) -> None:
        await self._processes.close()

    @property
    def zygote_pid(self) -> int:
        """The process that forks the runs."""
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
        """Run a workflow to its end. A failure of the workflow is a result, never an exception.

        ``host`` performs the calls of adaptors; without one, they are refused.
        """
        collector = Collector(run_id or str(uuid.uuid4()), sinks)
        try:
            request = prepare(workflow, input, options, collector.run_id)
        except PlanError as error:
            collector.refuse(workflow.name, error)
        else:
            await self._processes.execute(request, collector.receive, cancel, host)
        return collector.result()

    async def start_evaluator(self, request: RunRequest) -> ConditionEvaluator:
        """Return an evaluator of the conditions of a request's plan, in a new process."""
        return await self._processes.start_evaluator(request)


# --- without an event loop of one's own ---------------------------------------------------------


async def run_async(
    workflow: Workflow,
    input: Mapping[str, Any] | None = None,
    options: Options = Options(),
    *,
    sinks: Sequence[Sink] = (),
    cancel: asyncio.Event | None = None,
) -> Result:
    """One run, with a pool of its own."""
    async with Pool(size=1) as pool:
        return await pool.run(workflow, input, options, sinks=sinks, cancel=cancel)


def run(
    workflow: Workflow,
    input: Mapping[str, Any] | None = None,
    *,
    timeout: float = 300.0,
    memory_mb: int = 500,
    sinks: Sequence[Sink] = (),
    **options: Any,
) -> Result:
    """One run, from code that has no event loop. ``timeout`` is in seconds.

    ``options`` are the fields of :class:`Options`. The processes stay warm for the next call.
    """
    options.setdefault("limits", Limits(timeout_s=timeout, memory_mb=memory_mb))
    return run_with(workflow, input, Options(**options), sinks=sinks)


def run_with(
    workflow: Workflow,
    input: Mapping[str, Any] | None,
    options: Options,
    *,
    sinks: Sequence[Sink] = (),
) -> Result:
    """:func:`run`, with all of its options in one value."""
    return background().run(workflow, input, options, sinks=sinks)


class Background:
    """A pool in a thread of its own, for callers without an event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.pool = Pool(size=os.cpu_count() or 2)

    def run(self, *arguments: Any, **named: Any) -> Result:
        call = self.pool.run(*arguments, **named)
        return asyncio.run_coroutine_threadsafe(call, self.loop).result()

    def close(self) -> None:
        closing = asyncio.run_coroutine_threadsafe(self.pool.__aexit__(), self.loop)
        closing.result(timeout=5)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=5)
        self.loop.close()


@functools.cache
def background() -> Background:
    """The one that all callers without an event loop share."""
    shared = Background()
    atexit.register(shared.close)
    return shared


__all__ = ["Limits", "Options", "PathEntry", "Pool", "Result", "prepare", "run", "run_async"]
