"""From a workflow to a result: compile, execute in a process of its own, collect the events.

``run`` and ``run_async`` are what users call; :class:`Pool` keeps the processes warm between runs.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import hashlib
import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from worker.errors import PlanError, UsageError
from worker.execute.limits import Limits
from worker.execute.pool import Processes
from worker.execute.protocol import Request
from worker.plan.compile import compile as compile_plan
from worker.plan.plan import Plan
from worker.plan.workflow import Edge, EdgeKind, Language, Step, Workflow
from worker.version import VERSION
from worker.walk.closing import Tail
from worker.walk.events import AnyEvent, RunComplete, StepComplete
from worker.walk.jsontext import dumps
from worker.walk.outcome import StepError
from worker.walk.script import Script
from worker.walk.secrets import secrets_of
from worker.walk.status import STATUS_OF_REASON, Status

if TYPE_CHECKING:
    from worker.execute.javascript.job import CompiledJob
    from worker.sinks.base import Sink


@dataclass(frozen=True, slots=True, kw_only=True)
class PathEntry:
    """One execution of a step: how it ended, and the steps that its edges selected."""

    step: str
    outcome: str
    error_type: str | None
    next: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a run ended. ``final_text`` is the final state as JSON, with secrets masked."""

    run_id: str
    status: Status
    error: StepError | None
    final_text: str | None
    events: tuple[AnyEvent, ...]
    duration: int

    @property
    def error_type(self) -> str | None:
        return self.error.type if self.error else None

    @property
    def error_message(self) -> str | None:
        return self.error.message if self.error else None

    @property
    def final_state(self) -> Any:
        return None if self.final_text is None else json.loads(self.final_text)

    @property
    def path(self) -> tuple[PathEntry, ...]:
        """The executions in the order in which they completed."""
        return tuple(_entry(event) for event in self.events if isinstance(event, StepComplete))


def _entry(event: StepComplete) -> PathEntry:
    return PathEntry(
        step=event.job_id,
        outcome=STATUS_OF_REASON[event.reason].value,
        error_type=event.error.type if event.error else None,
        next=event.next,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to run a workflow: where to start and stop, within what, and with whose credentials.

    ``credentials`` gives the content of the credentials that steps name. ``modules`` are the
    Python modules that Python steps may import beyond the safe ones. ``script`` says which
    executions of which steps do something else than run their code. ``clock`` is where virtual time
    begins, in microseconds since the epoch; ``None`` is the machine's time.
    """

    start: str = ""
    end: str = ""
    only: str = ""
    limits: Limits = field(default_factory=Limits)
    credentials: Mapping[str, Mapping[str, Any]] | None = None
    allow_python: bool = True
    modules: frozenset[str] = frozenset()
    script: Script = field(default_factory=dict)
    clock: int | None = None


class Pool:
    """Runs workflows, at most ``size`` at once, each run in a process of its own.

    ``async with Pool(size=2) as pool: result = await pool.run(workflow, input)``
    """

    def __init__(self, size: int = 2) -> None:
        self._processes = Processes(size)

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
    ) -> Result:
        """Run a workflow to its end. A failure of the workflow is a result, never an exception."""
        collector = Collector(run_id or str(uuid.uuid4()), sinks)
        try:
            request = prepare(workflow, input, options, collector.run_id)
        except PlanError as error:
            collector.refuse(workflow.name, error)
        else:
            await self._processes.execute(request, collector.receive, cancel)
        return collector.result()


HELD_LIMIT = 256 * 1024 * 1024
"""How much of dataclips a result holds; the outputs of later steps go to the sinks alone."""


class Collector:
    """Hands every event to the sinks, and keeps what the result needs."""

    def __init__(self, run_id: str, sinks: Sequence[Sink]) -> None:
        self.run_id = run_id
        self._sinks = sinks
        self._events: list[AnyEvent] = []
        self._final_text: str | None = None
        self._held = 0

    def receive(self, event: AnyEvent) -> None:
        if isinstance(event, RunComplete) and event.final_state is not None:
            self._final_text = event.final_state.text
            event = withheld(event)
        for sink in self._sinks:
            sink.receive(event)
        self._events.append(self._within_reason(event))

    def _within_reason(self, event: AnyEvent) -> AnyEvent:
        if not isinstance(event, StepComplete) or event.output_dataclip is None:
            return event
        self._held += len(event.output_dataclip.text)
        if self._held <= HELD_LIMIT:
            return event
        return replace(event, output_dataclip=None, withheld=True)

    def refuse(self, workflow: str, error: PlanError) -> None:
        """Complete a run that cannot start."""
        tail, now = Tail(self.run_id), time.time_ns() // 1000
        head = {"run_id": self.run_id, "seq": 0, "timestamp": now, "type": "run:start"}
        self.receive(tail.accept({**head, "workflow": workflow, "versions": VERSIONS}, None))
        for event in tail.close(StepError(type=error.type, message=str(error)), now=now):
            self.receive(event)

    def result(self) -> Result:
        last = self._events[-1]
        assert isinstance(last, RunComplete)
        return Result(
            run_id=self.run_id,
            status=last.status,
            error=last.error,
            final_text=self._final_text,
            events=tuple(self._events),
            duration=last.duration,
        )


def withheld(event: RunComplete) -> RunComplete:
    """The event as sinks may see it: without a final state that is over the payload limit."""
    return replace(event, final_state=None) if event.withheld else event


VERSIONS = {"worker": VERSION, "python": platform.python_version()}


def prepare(
    workflow: Workflow, input: Mapping[str, Any] | None, options: Options, run_id: str
) -> Request:
    """Compile a workflow into what a run's process needs.

    Raises :class:`PlanError` where the workflow cannot run, and :class:`UsageError` where the
    input is not a JSON object.
    """
    plan = compile_plan(workflow, start=options.start, end=options.end, only=options.only)
    found, missing = _configurations(workflow, options.credentials or {})
    return Request(
        run_id=run_id,
        seed=hashlib.sha256(run_id.encode()).hexdigest()[:32],
        plan=plan,
        input=_input_text(input),
        limits=options.limits,
        jobs={step.id: _job(step, options) for step in plan.steps if step.runs_code},
        conditions=dict(_conditions(plan)),
        configurations={id: json.dumps(dict(value)) for id, value in found.items()},
        secrets=secrets_of(found.values()),
        modules=options.modules,
        versions=VERSIONS,
        missing=missing,
        script=options.script,
        clock=options.clock,
    )


def _input_text(input: Mapping[str, Any] | None) -> str:
    try:
        return dumps(dict(input or {}))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"the input must be a JSON object: {error}") from error


def _configurations(
    workflow: Workflow, credentials: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, Mapping[str, Any]], dict[str, str]]:
    """Each step's credential, and the names of those that nobody gave."""
    found: dict[str, Mapping[str, Any]] = {}
    missing: dict[str, str] = {}
    for step in workflow.steps:
        match step.configuration:
            case None | "":
                continue
            case str(name) if name in credentials:
                found[step.id] = credentials[name]
            case str(name):
                missing[step.id] = name
            case inline:
                found[step.id] = inline
    return found, missing


def _conditions(plan: Plan) -> Iterator[tuple[str, str]]:
    for step in plan.steps:
        for edge in step.edges:
            if edge.kind is EdgeKind.EXPRESSION:
                yield edge.expression, _condition(edge)


def _condition(edge: Edge) -> str:
    try:
        return compiled_condition(edge.expression)
    except PlanError as error:
        message = f"the condition of {edge.id} does not compile: {error}"
        raise PlanError(message, type=error.type) from error


def _job(step: Step, options: Options) -> CompiledJob | str:
    if step.language is Language.PYTHON:
        return _python_job(step, options)
    try:
        return compiled_job(step.source)
    except PlanError as error:
        raise PlanError(f"{step.source_file or step.id}: {error}", type=error.type) from error


def _python_job(step: Step, options: Options) -> str:
    from worker.execute.python import check_step

    if not options.allow_python:
        message = f"step '{step.id}' is written in Python, which is refused here"
        raise PlanError(message, type="SecurityError")
    check_step(step.source, step.source_file or f"{step.id}.py")
    return step.source


@functools.lru_cache(maxsize=4096)
def compiled_job(source: str) -> CompiledJob:
    from worker.execute.javascript.compile import compile_job

    return compile_job(source)


@functools.lru_cache(maxsize=4096)
def compiled_condition(expression: str) -> str:
    from worker.execute.javascript.compile import compile_condition

    return compile_condition(expression)


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
    return _shared().run(workflow, input, options, sinks=sinks)


class Background:
    """A pool in a thread of its own, for callers without an event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._pool = Pool(size=os.cpu_count() or 2)

    def run(self, *arguments: Any, **named: Any) -> Result:
        call = self._pool.run(*arguments, **named)
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    def close(self) -> None:
        closing = asyncio.run_coroutine_threadsafe(self._pool.__aexit__(), self._loop)
        closing.result(timeout=5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        self._loop.close()


@functools.cache
def _shared() -> Background:
    background = Background()
    atexit.register(background.close)
    return background


__all__ = ["Limits", "Options", "PathEntry", "Pool", "Result", "run", "run_async"]
