"""The worker of a Lightning: claims runs while it has room, and executes them."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from worker.lightning import claim_loop, resumed_run
from worker.lightning.channels import ChannelClosed, ReplyLost, RequestRefused
from worker.lightning.claim_loop import Backoff, ClaimRequest, Workloop
from worker.lightning.run_session import RunContext, RunSession
from worker.lightning.serializer import encode_json
from worker.lightning.worker_tokens import RunTokenError, read_run_token

QUEUE = "worker:queue"
REJOIN_QUEUE_S = 10.0
# Runs that end at the deadline of a drain are reported before the process exits.
REPORT_CANCELLED_S = 5.0
# The id becomes the name of a file and a topic.
_RUN_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,63}")


class WorkerSettings(Struct, frozen=True, kw_only=True):
    """Settings of a worker. ``public_key`` is the PEM that run tokens are verified with.

    ``claim_timeout_s`` is how long a claim may wait for its answer.
    """

    name: str
    workloops: tuple[Workloop, ...]
    backoff: Backoff = Backoff()
    public_key: str | None = None
    claim_timeout_s: float = 3600.0


class LightningWorker:
    """A worker, which runs until it is cancelled or has drained."""

    def __init__(self, settings: WorkerSettings, context: RunContext) -> None:
        self._settings = settings
        self._context = context
        self._log = context.log
        self._state = claim_loop.initial_state(settings.workloops, settings.backoff)
        self._sessions: dict[str, RunSession] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._draining = asyncio.Event()
        self._drain_s: float | None = None
        self.finished = 0

    @property
    def running(self) -> int:
        return len(self._sessions)

    @property
    def connected(self) -> asyncio.Event:
        """Set while there is a connection."""
        return self._context.socket.connected

    async def run(self) -> None:
        """Claim and execute runs until cancelled or drained.

        Raises :class:`ConnectionRefused` if the server does not accept the secret.
        """
        connection = asyncio.create_task(self._context.socket.run())
        claiming = asyncio.create_task(self._claim_until_drained())
        for run in self._context.store.recover(time.time()):
            self._start(resumed_run.resume(self._context, run))
        try:
            await asyncio.wait((connection, claiming), return_when=asyncio.FIRST_COMPLETED)
            if connection.done():
                await connection
            await claiming
            await self._finish_runs()
        finally:
            for task in (claiming, *self._tasks):
                task.cancel()
            await asyncio.gather(claiming, *self._tasks, return_exceptions=True)
            connection.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await connection
            self._context.store.close()

    def drain(self, timeout_s: float | None = None) -> None:
        """Claim nothing more, finish the runs, and end.

        Runs that take longer than ``timeout_s`` seconds are cancelled.
        """
        self._log.info("worker.draining", runs=self.running)
        self._drain_s = timeout_s
        self._draining.set()

    async def _finish_runs(self) -> None:
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=self._drain_s)
        if late:
            self._log.warning("runs.cancelled", runs=sorted(self._sessions))
            for session in self._sessions.values():
                session.cancel.set()
            await asyncio.wait(late, timeout=REPORT_CANCELLED_S)

    # --- claims -----------------------------------------------------------------------------------

    async def _claim_until_drained(self) -> None:
        while not self._draining.is_set():
            queue = self._context.socket.channel(
                QUEUE, claim_loop.join_payload(self._settings.workloops), self._on_push
            )
            try:
                if await self._unless_draining(queue.join()):
                    self._log.info("queue.joined", worker=self._settings.name)
                    await self._claim(queue)
            except (RequestRefused, ChannelClosed) as error:
                self._log.warning("queue.closed", error=str(error)[:500])
                await self._unless_draining(asyncio.sleep(REJOIN_QUEUE_S))
            finally:
                await queue.leave()

    async def _unless_draining(self, work: Any) -> bool:
        """Await something unless the worker drains before; return whether it was completed."""
        task, draining = asyncio.ensure_future(work), asyncio.ensure_future(self._draining.wait())
        try:
            await asyncio.wait((task, draining), return_when=asyncio.FIRST_COMPLETED)
        finally:
            draining.cancel()
            if not task.done():
                task.cancel()
        if not task.done():
            return False
        await task
        return True

    async def _claim(self, queue: Any) -> None:
        """Claim in rounds until the worker drains."""
        while not self._draining.is_set():
            self._wake.clear()
            while (request := self._next_claim()) is not None and not self._draining.is_set():
                await self._claim_runs(queue, request)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._state.wait_s):
                    await self._unless_draining(self._wake.wait())

    def _next_claim(self) -> ClaimRequest | None:
        self._state, request = claim_loop.next_claim(self._state)
        return request

    async def _claim_runs(self, queue: Any, request: ClaimRequest) -> None:
        workloop = self._settings.workloops[request.workloop]
        payload = encode_json(
            {
                "demand": request.demand,
                "worker_name": self._settings.name or None,
                "queues": list(workloop.queues),
            }
        )
        reply = asyncio.ensure_future(
            queue.request("claim", payload, self._settings.claim_timeout_s)
        )
        try:
            # A claim that was sent is never given up, unless the server does not answer: what it
            # brings is this worker's.
            if not await self._finished(reply):
                return
            runs = reply.result()["runs"]
        except ReplyLost as error:
            self._log.warning("claim.lost", error=str(error))
            return
        except (RequestRefused, KeyError, TypeError) as error:
            self._log.warning("claim.refused", error=str(error)[:500])
            return
        self._start_runs(request.workloop, runs)

    async def _finished(self, reply: asyncio.Future[Any]) -> bool:
        """Wait for a claim's answer; while the worker drains, not longer than for others."""
        draining = asyncio.ensure_future(self._draining.wait())
        try:
            await asyncio.wait((reply, draining), return_when=asyncio.FIRST_COMPLETED)
            if not reply.done():
                await asyncio.wait((reply,), timeout=self._answer_timeout_s())
            return reply.done()
        finally:
            draining.cancel()
            if not reply.done():
                reply.cancel()

    def _answer_timeout_s(self) -> float:
        # A server without a connection has not received it.
        return self._context.socket.timings.reply_s if self.connected.is_set() else 0.0

    def _on_push(self, event: str, payload: Any) -> None:
        if event == "work-available":
            self._state = claim_loop.woken(self._state)
            self._wake.set()

    # --- runs -------------------------------------------------------------------------------------

    def _start_runs(self, workloop: int, runs: Any) -> None:
        started = 0
        for run in runs if isinstance(runs, list) else ():
            session = self._session(run)
            if session is not None:
                started += 1
                self._sessions[session.run_id] = session
                self._start(self._perform(session, workloop))
        self._state = claim_loop.runs_claimed(self._state, workloop, started)

    def _session(self, run: Any) -> RunSession | None:
        """Create the session of a claimed run; ``None`` for one that must not be executed."""
        id, text = (run.get("id"), run.get("token")) if isinstance(run, Mapping) else (None, None)
        if not isinstance(id, str) or not isinstance(text, str) or not _RUN_ID.fullmatch(id):
            self._log.warning("run.refused", error="the claim has a run without an id or a token")
            return None
        if id in self._sessions:
            return None
        try:
            token = read_run_token(id, text, self._settings.public_key)
        except RunTokenError as error:
            # Of this run alone: others may come from the right server.
            self._log.critical("run.refused", run_id=id, error=str(error))
            return None
        return RunSession(self._context, token)

    async def _perform(self, session: RunSession, workloop: int) -> None:
        try:
            await session.perform()
        except Exception as error:
            self._log.critical("run.failed", run_id=session.run_id, error=repr(error)[:500])
        finally:
            del self._sessions[session.run_id]
            self.finished += 1
            self._state = claim_loop.run_ended(self._state, workloop)
            self._wake.set()

    def _start(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
