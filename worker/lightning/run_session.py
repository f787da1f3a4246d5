"""One run of Lightning: joined, fetched, executed and reported."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.adaptors.collections.settings import Collections
from worker.core.events import AnyEvent, RunComplete
from worker.core.status import STATUS_OF_REASON, Status
from worker.errors import WorkerError
from worker.lightning.channel_errors import ChannelClosed, ReplyLost, RequestRefused
from worker.lightning.channels import ChannelSocket
from worker.lightning.delivery import LogBatches
from worker.lightning.event_sender import EventSender
from worker.lightning.run_plan import RunDefaults, RunPlan, RunPlanError, read_input, read_run_plan
from worker.lightning.run_reports import RunReports, failed, run_start
from worker.lightning.run_store import RunFile, RunStore
from worker.lightning.sandbox_runs import MissingAdaptor, SandboxRuns, check_adaptors
from worker.lightning.serializer import encode_json
from worker.lightning.worker_tokens import RunToken
from worker.runner.prepare import VERSIONS
from worker.sinks.log import LeveledLogger
from worker.util.machine_clock import now_us
from worker.workflow.model import Workflow


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """What all runs of a worker share."""

    socket: ChannelSocket
    sandbox: SandboxRuns
    store: RunStore
    log: LeveledLogger
    defaults: RunDefaults = field(default_factory=RunDefaults)
    batches: LogBatches | None = None


class RunNotPossible(WorkerError):
    """The run ends before it starts; ``type`` is the error type that Lightning stores."""

    def __init__(self, type: str, message: str, reason: str = "exception") -> None:
        super().__init__(message)
        self.type, self.reason = type, reason


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnd:
    """How a run has ended, in our own words: metrics count these."""

    status: Status
    error_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedRun:
    plan: RunPlan
    workflow: Workflow
    input: Mapping[str, Any]
    credentials: Mapping[str, Mapping[str, Any]]


class RunSession:
    """A claimed run. Setting ``cancel`` ends it as cancelled."""

    def __init__(self, context: RunContext, token: RunToken) -> None:
        self._context = context
        self._token = token
        self._log = context.log
        self._channel = context.socket.channel(f"run:{token.run_id}", {"token": token.text})
        self._file = RunFile(None)
        self._wanted = True
        # Until the run ends by itself: a run that is abandoned is lost.
        self.end = RunEnd(status=Status.LOST)
        self.cancel = asyncio.Event()

    @property
    def run_id(self) -> str:
        return self._token.run_id

    async def perform(self) -> None:
        """Execute the run, and report it until Lightning has accepted its end."""
        try:
            # After its expiry no server accepts the token, so nobody waits for the run any more.
            life_s = max(0.0, self._token.expires_s - time.time())
            async with asyncio.timeout(life_s):
                await self._channel.join()
                await self._perform_joined()
            self._file.discard()
        except (RequestRefused, ReplyLost, ChannelClosed, RunPlanError) as error:
            self._log.warning("run.abandoned", run_id=self.run_id, error=str(error)[:500])
            self._file.discard()
        except TimeoutError:
            self._log.warning("run.abandoned", run_id=self.run_id, error="the token has expired")
            self._file.discard()
        finally:
            self._file.close()
            self._channel.leave()

    async def _perform_joined(self) -> None:
        plan = read_run_plan(await self._fetch("fetch:plan"), self._context.defaults)
        token = self._token
        self._file = self._context.store.open(token.run_id, token.text, token.expires_s)
        if self._file.error:
            self._log.warning("outbox.unwritable", run_id=self.run_id, error=self._file.error)
        sender = EventSender(
            self._channel,
            self.run_id,
            self._file,
            self._log,
            self._context.batches,
        )
        try:
            fetched = await self._fetch_all(plan)
        except RunNotPossible as error:
            if error.type in _AFTER_START:
                sender.add(run_start({**VERSIONS, **plan.versions}, now_us()))
            self._fail(error.reason, error.type, str(error), sender)
            sender.close()
            await sender.run()
            return
        await self._execute(fetched, sender)

    async def _fetch_all(self, plan: RunPlan) -> FetchedRun:
        input = await self._fetch_input(plan.dataclip_id)
        credentials = {id: await self._fetch_credential(id) for id in plan.credential_ids}
        try:
            workflow = await self._load(plan)
        except MissingAdaptor as error:
            raise RunNotPossible("AutoinstallError", str(error)) from error
        except WorkerError as error:
            raise RunNotPossible("ValidationError", str(error), "crash") from error
        return FetchedRun(plan=plan, workflow=workflow, input=input, credentials=credentials)

    async def _load(self, plan: RunPlan) -> Workflow:
        sandbox = self._context.sandbox
        workflow = sandbox.load(plan)
        if sandbox.installer is not None:
            await self._unless_closed(sandbox.install_missing(workflow))
        check_adaptors(workflow)
        return workflow

    async def _unless_closed(self, installing: Coroutine[Any, Any, None]) -> None:
        """Await adaptors, which may take minutes to install, while the run is wanted."""
        task = asyncio.ensure_future(installing)
        closed = self._channel.closed
        try:
            await asyncio.wait((task, closed), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ChannelClosed(closed.result())
            await task
        finally:
            task.cancel()

    async def _fetch_input(self, dataclip_id: str | None) -> dict[str, Any]:
        if dataclip_id is None:
            return {}
        try:
            content = await self._fetch("fetch:dataclip", {"id": dataclip_id})
            return read_input(_content(content))
        except (RequestRefused, ReplyLost, RunPlanError) as error:
            message = f"Failed to load dataclip {dataclip_id}: {error}"
            raise RunNotPossible("DataClipError", message) from error

    async def _fetch_credential(self, id: str) -> Mapping[str, Any]:
        try:
            body = await self._fetch("fetch:credential", {"id": id})
        except (RequestRefused, ReplyLost) as error:
            message = f"Failed to load credential {id}: {error}"
            raise RunNotPossible("CredentialLoadError", message) from error
        if body is not None and not isinstance(body, Mapping):
            message = f"Failed to load credential {id}: expected an object"
            raise RunNotPossible("CredentialLoadError", message)
        return body or {}

    async def _fetch(self, event: str, payload: Mapping[str, Any] | None = None) -> Any:
        """Request what the server has, again after each loss of the connection."""
        while True:
            try:
                return await self._channel.request(event, encode_json(payload or {}))
            except ReplyLost as error:
                # A server that has not answered in time would not answer another request either.
                if error.timed_out:
                    raise

    async def _execute(self, run: FetchedRun, sender: EventSender) -> None:
        reports = RunReports(run.plan)

        def receive(event: AnyEvent) -> None:
            if self._wanted:
                self._note_end(event)
                reports.withhold = sender.is_full
                for outgoing in reports.convert(event):
                    sender.add(outgoing)

        execution = asyncio.create_task(
            self._context.sandbox.execute(
                self.run_id, run.workflow, run.plan, run.input, run.credentials, receive,
                self.cancel, self._collections(run.plan),
            )
        )  # fmt: skip
        sending = asyncio.create_task(sender.run())
        try:
            closed = self._channel.closed
            await asyncio.wait((execution, sending, closed), return_when=asyncio.FIRST_COMPLETED)
            if closed.done():
                # Nobody receives what the run does any more.
                raise ChannelClosed(closed.result())
            if execution.done():
                self._end_of(execution, sender)
                sender.close()
            await sending
        finally:
            self._wanted = False
            self.cancel.set()
            sending.cancel()
            # The pool ends the run's process; without this the slot would be free too early.
            with contextlib.suppress(Exception):
                await asyncio.shield(execution)
        if sender.dropped_lines:
            self._log.warning("log.dropped", run_id=self.run_id, lines=sender.dropped_lines)

    def _collections(self, plan: RunPlan) -> Collections | None:
        url = self._context.defaults.collections_url
        if not url:
            return None
        # The service takes the token of the run, which gives access to its project alone.
        return Collections(url=url, token=self._token.text, project_id=plan.project_id)

    def _end_of(self, execution: asyncio.Task[None], sender: EventSender) -> None:
        """Report a run that the sandbox could not execute."""
        if (error := execution.exception()) is not None:
            self._log.critical("run.failed", run_id=self.run_id, error=repr(error)[:500])
            self._fail("exception", "ExecutionError", str(error), sender)

    def _fail(self, reason: str, error_type: str, message: str, sender: EventSender) -> None:
        self.end = RunEnd(status=STATUS_OF_REASON[reason], error_type=error_type)
        for event in failed(reason, error_type, message, now_us()):
            sender.add(event)

    def _note_end(self, event: AnyEvent) -> None:
        if isinstance(event, RunComplete):
            error_type = event.error.type if event.error else ""
            self.end = RunEnd(status=STATUS_OF_REASON[event.reason], error_type=error_type)


# OpenFn's worker reports the start of a run that its runtime has refused.
_AFTER_START = ("ValidationError",)


def _content(response: Any) -> bytes:
    """Return the bytes of a dataclip, which comes in a binary frame or as a list of numbers."""
    if isinstance(response, bytes):
        return response
    if isinstance(response, list):
        try:
            return bytes(response)
        except (TypeError, ValueError) as error:
            raise RunPlanError(f"cannot read the dataclip: {error}") from error
    if isinstance(response, str):
        return response.encode()
    return encode_json(response)
