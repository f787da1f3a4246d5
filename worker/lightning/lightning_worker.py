"""The worker of a Lightning: claims runs while it has room, and executes them."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from worker.lightning import claim_loop, resumed_run
from worker.lightning.channel_errors import ChannelClosed, ReplyLost, RequestRefused
from worker.lightning.claim_loop import Backoff, ClaimRequest, Workloop
from worker.lightning.run_session import RunContext, RunEnd, RunSession
from worker.lightning.serializer import encode_json
from worker.lightning.worker_tokens import RunTokenError, read_run_token
from worker.util.liveness import Liveness

QUEUE = "worker:queue"
REJOIN_QUEUE_S = 10.0
MARK_ALIVE_S = 1.0
# Runs that end at the deadline of a drain are reported before the process exits.
REPORT_CANCELLED_S = 5.0
# Each is a series of the metrics, and jobs can throw errors of any type.
MAX_ENDS = 100
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
        self._drained: asyncio.Task[bool]
        self._drain_s: float | None = None
        self._liveness = Liveness()
        self.ends: Counter[RunEnd] = Counter()

    @property
    def finished(self) -> int:
        return self.ends.total()

    @property
    def running(self) -> int:
        return len(self._sessions)

    @property
    def connected(self) -> asyncio.Event:
        """Set while there is a connection."""
        return self._context.socket.connected

    @property
    def stalled(self) -> str:
        """Why the process has to be started again; empty while it works."""
        return self._liveness.stalled

    async def run(self) -> None:
        """Claim and execute runs until cancelled or drained.

        Raises :class:`ConnectionRefused` if the server does not accept the secret.
        """
        # One for all claims: a task for each would cost more than all else that a claim does.
        drained = self._drained = asyncio.create_task(self._draining.wait())
        connection = asyncio.create_task(self._context.socket.run())
        marking = asyncio.create_task(self._mark_alive())
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
            for task in (marking, claiming, drained, *self._tasks):
                task.cancel()
            ended = asyncio.gather(marking, claiming, drained, *self._tasks, return_exceptions=True)
            await ended
            connection.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await connection
            self._context.store.close()

    def claim_now(self) -> None:
        """Claim at once, if there is room, and not only after the time between claims."""
        self._state = claim_loop.woken(self._state)
        self._wake.set()

    def drain(self, timeout_s: float | None = None) -> None:
        """Claim nothing more, finish the runs, and end.

        Runs that take longer than ``timeout_s`` seconds are cancelled.
        """
        self._drain_s = timeout_s
        self._draining.set()
        self._wake.set()
        # Last, as it can fail: a log is a file of a disk that may be full.
        self._log.info("worker.draining", runs=self.running)

    async def _mark_alive(self) -> None:
        # Claims cannot show it: an answer may take an hour.
        while True:
            self._liveness.mark()
            await asyncio.sleep(MARK_ALIVE_S)

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
                queue.leave()

    async def _unless_draining(self, work: Any) -> bool:
        """Await something unless the worker drains before; return whether it was completed."""
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait((task, self._drained), return_when=asyncio.FIRST_COMPLETED)
        finally:
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
                    await self._wake.wait()

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
        try:
            await asyncio.wait((reply, self._drained), return_when=asyncio.FIRST_COMPLETED)
            if not reply.done():
                await asyncio.wait((reply,), timeout=self._answer_timeout_s())
            return reply.done()
        finally:
            if not reply.done():
                reply.cancel()

    def _answer_timeout_s(self) -> float:
        # A server without a connection has not received it.
        return self._context.socket.timings.reply_s if self.connected.is_set() else 0.0

    def _on_push(self, event: str, payload: Any) -> None:
        if event == "work-available":
            self.claim_now()

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
            self._count(session.end)
            self._state = claim_loop.run_ended(self._state, workloop)
            self._wake.set()

    def _count(self, end: RunEnd) -> None:
        if end not in self.ends and len(self.ends) >= MAX_ENDS:
            end = RunEnd(status=end.status)
        self.ends[end] += 1

    def _start(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
