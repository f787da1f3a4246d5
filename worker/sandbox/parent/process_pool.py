"""Pool of the processes that execute runs, at most ``size`` at a time.

Runs of JavaScript alone are executed by runners, which live on; each other run gets a process of
its own. A zygote forks both.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Self

from worker.core.event_stream import EventStream
from worker.core.events import AnyEvent
from worker.core.outcome import StepError
from worker.errors import UsageError
from worker.sandbox.confinement.layers import require_layers
from worker.sandbox.isolation import Isolation
from worker.sandbox.parent.condition_evaluator import ConditionEvaluator
from worker.sandbox.parent.host import Host
from worker.sandbox.parent.open_files import check_open_files
from worker.sandbox.parent.run_process import (
    CANCELLED,
    EXIT_TIMEOUT_S,
    PROCESS_GONE,
    ZYGOTE_GONE,
    RequestUnreadError,
    RunProcess,
)
from worker.sandbox.parent.runner_client import ProgramEncoder, RunnerClient, RunOnRunner
from worker.sandbox.parent.zygote_client import (
    BundleError,
    ZygoteClient,
    ZygoteError,
    cause_of_exit,
    ignore_exit,
)
from worker.sandbox.protocol import (
    USUAL_REALM,
    ConditionRequest,
    RealmContents,
    RunRequest,
    encode_request,
)
from worker.sandbox.runner_user import runner_user
from worker.util.machine_clock import now_us

MAX_ZYGOTES = 4
"""Zygotes that stay loaded, each with another realm. Busy ones are kept beyond this number."""
CAUSE_TIMEOUT_S = 10.0
MAX_ATTEMPTS = 3
"""Processes that a run is sent to, one after the other, while none of them begins it."""


class ProcessPool:
    """Executes run requests in processes of its own."""

    def __init__(self, size: int = 2, isolation: Isolation = Isolation.RUNNER) -> None:
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise UsageError(f"size: expected a whole number of at least 1, found {size!r}")
        if isolation is Isolation.STRICT:
            require_layers("strict isolation")
        # Checked here, as the zygote could only fail to start.
        runner_user()
        check_open_files()
        self._isolation = isolation
        self._slots = asyncio.Semaphore(size)
        # The one that was used last is the last.
        self._zygotes: dict[RealmContents, ZygoteClient] = {}
        self._users: Counter[RealmContents] = Counter()
        self._idle: dict[ZygoteClient, list[RunnerClient]] = {}
        self._encoder = ProgramEncoder()

    def boot(self, realm: RealmContents = USUAL_REALM) -> ZygoteClient:
        """Start the zygote that has this realm loaded, without waiting until it is ready."""
        zygote = self._zygotes.pop(realm, None) or ZygoteClient(realm)
        self._zygotes[realm] = zygote
        return zygote

    async def __aenter__(self) -> Self:
        if not self._zygotes:
            self.boot()
        return self

    async def __aexit__(self, *reason: object) -> None:
        await self.close()

    @property
    def zygote_pid(self) -> int:
        """Process id of the zygote whose realm has the usual contents alone."""
        return self._zygotes[USUAL_REALM].pid

    async def close(self) -> None:
        """Kill running processes and stop the zygotes."""
        while self._zygotes:
            _, zygote = self._zygotes.popitem()
            await self._close(zygote)

    async def _discard(self, zygote: ZygoteClient) -> None:
        # Before the first await: another run that sees the same zygote gone must not do it again.
        for realm, current in list(self._zygotes.items()):
            if current is zygote:
                del self._zygotes[realm]
        await self._close(zygote)

    async def _close(self, zygote: ZygoteClient) -> None:
        for runner in self._idle.pop(zygote, ()):
            runner.close()
        await zygote.close()

    def _is_idle(self, zygote: ZygoteClient) -> bool:
        return zygote.forked <= len(self._idle.get(zygote, ()))

    async def _ready_zygote(self, realm: RealmContents) -> ZygoteClient:
        """Return the zygote with this realm, ready to fork; start it again if it has died.

        Raises :class:`ZygoteError` where it does not start. All who wait for the same start share
        its result, and a realm that takes long to load delays only them.
        """
        await self._discard_gone(realm)
        zygote = self.boot(realm)
        if not zygote.listening:
            try:
                await zygote.ready()
            except ZygoteError:
                await self._discard(zygote)
                raise
        if len(self._zygotes) > MAX_ZYGOTES:
            await self._evict_idle()
        return zygote

    async def _evict_idle(self) -> None:
        """Stop the zygotes that nobody uses, down to ``MAX_ZYGOTES``; used longest ago first."""
        for realm, zygote in list(self._zygotes.items()):
            is_unused = not self._users[realm] and zygote.listening and self._is_idle(zygote)
            if len(self._zygotes) > MAX_ZYGOTES and is_unused:
                await self._discard(zygote)

    async def execute(
        self,
        request: RunRequest,
        receive: Callable[[AnyEvent], None],
        cancel: asyncio.Event | None = None,
        host: Host | None = None,
    ) -> None:
        """Execute a run to its end and pass every event to ``receive``, in order.

        ``host`` performs the calls of the run's adaptors. Setting ``cancel``, or cancelling the
        task, kills the process; the run is then completed as cancelled.
        """
        if cancel is not None and cancel.is_set():
            return _complete_unstarted(request, CANCELLED, receive)
        realm = request.realm
        # Keeps the zygote with this realm from being stopped for others.
        self._users[realm] += 1
        try:
            error = await self._started(realm)
            if error is None:
                async with self._slots:
                    error = await self._attempt(request, receive, cancel, host)
        finally:
            self._users[realm] -= 1
            if not self._users[realm]:
                # A worker may see many realms.
                del self._users[realm]
        if error is not None:
            _complete_unstarted(request, error, receive)

    async def _attempt(
        self,
        request: RunRequest,
        receive: Callable[[AnyEvent], None],
        cancel: asyncio.Event | None,
        host: Host | None,
    ) -> StepError | None:
        """Execute a run in a slot; return the error where none of its processes began it."""
        for _ in range(MAX_ATTEMPTS):
            try:
                zygote = await self._ready_zygote(request.realm)
                if not has_only_javascript(request):
                    await RunProcess(zygote, request, receive, host).run(cancel)
                    return None
                runner = self._take_runner(zygote)
                try:
                    await RunOnRunner(runner, request, receive, host).run(cancel)
                    return None
                finally:
                    self._give_back(zygote, runner)
            # In both cases the process executed nothing, so no step of the run runs twice.
            except RequestUnreadError:
                error = PROCESS_GONE
            except ZygoteError:
                error = ZYGOTE_GONE
                await self._discard_gone(request.realm)
        return error

    async def _started(self, realm: RealmContents) -> StepError | None:
        """Wait until the realm's zygote can fork, for as long as that takes; return the error.

        A run waits here and not in a slot, which another run could use meanwhile.
        """
        zygote = self._zygotes.get(realm)
        if zygote is not None and zygote.listening:
            return None
        for _ in range(MAX_ATTEMPTS):
            try:
                await self._ready_zygote(realm)
                return None
            except BundleError as error:
                return StepError(type="AdaptorError", message=str(error))
            except ZygoteError:
                continue
        return ZYGOTE_GONE

    async def _discard_gone(self, realm: RealmContents) -> None:
        zygote = self._zygotes.get(realm)
        if zygote is not None and zygote.gone:
            await self._discard(zygote)

    def _take_runner(self, zygote: ZygoteClient) -> RunnerClient:
        """Return a runner that is ready. Raises :class:`ZygoteError` where the zygote is gone."""
        idle = self._idle.setdefault(zygote, [])
        while idle:
            runner = idle.pop()
            if runner.take():
                return runner
            runner.close()
        return RunnerClient(zygote, self._encoder)

    def _give_back(self, zygote: ZygoteClient, runner: RunnerClient) -> None:
        idle = self._idle.get(zygote)
        if self._isolation is not Isolation.RUNNER:
            runner.abandon()
        if runner.is_usable and idle is not None:
            runner.give_back()
            return idle.append(runner)
        runner.close()
        if idle is not None and zygote.listening:
            # Started now, so that the next run need not wait for it.
            with contextlib.suppress(ZygoteError):
                idle.append(RunnerClient(zygote, self._encoder))

    async def start_evaluator(self, request: RunRequest) -> ConditionEvaluator:
        """Start a process that evaluates the conditions of the request's plan."""
        zygote = await self._ready_zygote(request.realm)
        forked = zygote.fork()
        channel, exited = forked.channel, forked.exited
        channel.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(channel, encode_request(ConditionRequest(request=request)))

        async def cause() -> StepError:
            try:
                # A process that goes on without its channel is killed.
                kill = loop.call_later(EXIT_TIMEOUT_S, zygote.kill, forked.name)
                try:
                    return cause_of_exit(await exited, request.limits)
                finally:
                    kill.cancel()
            except ZygoteError:
                return ZYGOTE_GONE

        exited.add_done_callback(ignore_exit)
        # The evaluator is used in threads without an event loop, so it waits in this one.
        return ConditionEvaluator(
            channel,
            request,
            lambda: asyncio.run_coroutine_threadsafe(cause(), loop).result(CAUSE_TIMEOUT_S),
        )


def _complete_unstarted(
    request: RunRequest, error: StepError, receive: Callable[[AnyEvent], None]
) -> None:
    for event in EventStream(request.run_id).complete(error, now_us=now_us()):
        receive(event)


def has_only_javascript(request: RunRequest) -> bool:
    """Return True for a run that a runner can execute."""
    return not any(isinstance(job, str) for job in request.jobs.values())
