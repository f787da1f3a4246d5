"""The pool of processes: which zygote and which process a run gets, and after what it gives up."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
from msgspec.structs import replace

from tests.support.fake_run import request_for
from tests.support.helpers import job, workflow
from worker.core.events import AnyEvent, RunComplete
from worker.errors import UsageError
from worker.sandbox.isolation import Isolation
from worker.sandbox.parent import process_pool
from worker.sandbox.parent.process_pool import MAX_ZYGOTES, ProcessPool, has_only_javascript
from worker.sandbox.parent.run_process import RequestUnreadError
from worker.sandbox.parent.zygote_client import BundleError, ForkedProcess, ZygoteError
from worker.sandbox.protocol import USUAL_REALM, RealmContents, RunRequest

JAVASCRIPT = request_for(workflow(job("fn(s => s);")))
PYTHON = request_for(
    workflow({"id": "a", "adaptor": "python", "expression": "def step(state):\n    return state"})
)


class Zygote:
    """Stands in for a zygote: it starts as the test says, and forks nothing."""

    started: ClassVar[list[Zygote]] = []
    failures: ClassVar[list[Exception]] = []

    def __init__(self, realm: RealmContents = USUAL_REALM) -> None:
        self.realm = realm
        self.listening = self.gone = self.closed = False
        self.forked = 0
        self.channels: tuple[socket.socket, ...] = ()
        self.pid = 4711 + len(self.started)
        self.started.append(self)

    async def ready(self) -> None:
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop()
        self.listening = True

    def fork(self) -> ForkedProcess:
        self.channels = socket.socketpair()
        exited = asyncio.get_running_loop().create_future()
        return ForkedProcess(name="0", channel=self.channels[0], exited=exited)

    async def close(self) -> None:
        assert not self.closed
        self.closed, self.listening = True, False


class Runner:
    """Stands in for a runner."""

    started: ClassVar[list[Runner]] = []
    may_start = True

    def __init__(self, zygote: Zygote, encoder: Any) -> None:
        if not self.may_start:
            raise ZygoteError
        self.zygote = zygote
        self.is_usable, self.was_closed, self.watched = True, False, 0
        zygote.forked += 1
        self.started.append(self)

    def take(self) -> bool:
        return self.is_usable

    def give_back(self) -> None:
        self.watched += 1

    def abandon(self) -> None:
        self.is_usable = False

    def close(self) -> None:
        assert not self.was_closed
        self.was_closed = True
        self.zygote.forked -= 1


class Run:
    """Stands in for a run in a process: it calls the function that the test sets."""

    started: ClassVar[list[Any]] = []
    act: Callable[[Any], None] = staticmethod(lambda process: None)
    held: ClassVar[asyncio.Event | None] = None

    def __init__(self, process: Any, request: Any, receive: Any, host: Any) -> None:
        self.process = process

    async def run(self, cancel: Any) -> None:
        self.started.append(self.process)
        if self.held is not None:
            await self.held.wait()
        type(self).act(self.process)


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, fake in (
        ("ZygoteClient", Zygote), ("RunnerClient", Runner), ("RunProcess", Run),
        ("RunOnRunner", Run),
    ):  # fmt: skip
        monkeypatch.setattr(process_pool, name, fake)
    for kind in (Zygote, Runner, Run):
        monkeypatch.setattr(kind, "started", [])
    monkeypatch.setattr(Zygote, "failures", [])
    yield


async def execute(
    pool: ProcessPool, request: RunRequest = JAVASCRIPT, cancel: asyncio.Event | None = None
) -> tuple[str, str] | None:
    """Execute a run; return the type and the message of the error that the pool gave it."""
    events: list[AnyEvent] = []
    await pool.execute(request, events.append, cancel)
    if not events:
        return None
    complete = events[-1]
    assert isinstance(complete, RunComplete) and complete.error is not None
    return complete.error.type, complete.error.message


def raising(*errors: type[Exception] | None) -> Callable[[Any], None]:
    left = list(errors)

    def act(process: Any) -> None:
        if left and (error := left.pop(0)) is not None:
            raise error

    return act


def with_realm(number: int) -> RunRequest:
    return replace(JAVASCRIPT, realm=RealmContents(libraries=(str(number),)))


# --- the pool -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, -1, True, 1.0, "2", None])
def test_a_size_is_a_whole_number_of_at_least_one(size: Any) -> None:
    with pytest.raises(UsageError, match=rf"size: expected .* at least 1, found {size!r}"):
        ProcessPool(size)


@pytest.mark.parametrize("isolation", Isolation)
def test_a_strict_pool_alone_requires_all_layers(
    isolation: Isolation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def require_layers(purpose: str) -> None:
        raise UsageError(f"{purpose} is impossible")

    monkeypatch.setattr(process_pool, "require_layers", require_layers)
    if isolation is not Isolation.STRICT:
        assert ProcessPool(1, isolation)
        return
    with pytest.raises(UsageError, match="strict isolation is impossible"):
        ProcessPool(1, isolation)


async def test_a_pool_starts_its_usual_zygote_once_and_closes_it() -> None:
    async with ProcessPool(1) as pool:
        assert pool.zygote_pid == 4711
        assert pool.boot() is pool.boot()
        assert await execute(pool) is None and await execute(pool) is None
    (zygote,) = Zygote.started
    assert zygote.closed and Runner.started[0].was_closed
    async with pool:
        assert len(Zygote.started) == 2


async def test_a_pool_that_was_booted_starts_no_other_zygote() -> None:
    pool = ProcessPool(1)
    zygote: Any = pool.boot(RealmContents(libraries=("x",)))
    async with pool:
        assert Zygote.started == [zygote]


async def test_a_pool_executes_as_many_runs_at_once_as_it_has_slots(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = asyncio.Event()
    monkeypatch.setattr(Run, "held", held)
    async with ProcessPool() as pool:
        tasks = [asyncio.create_task(execute(pool)) for _ in range(3)]
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(Run.started) == 2
        held.set()
        assert await asyncio.gather(*tasks) == [None, None, None]
    assert len(Run.started) == 3 and len(Runner.started) == 2


# --- runners --------------------------------------------------------------------------------------


async def test_a_runner_executes_run_after_run() -> None:
    async with ProcessPool(1) as pool:
        for _ in range(3):
            assert await execute(pool) is None
        (runner,) = Runner.started
        assert Run.started == [runner] * 3 and runner.watched == 3


async def test_a_run_of_python_has_a_process_of_its_own() -> None:
    assert has_only_javascript(JAVASCRIPT) and not has_only_javascript(PYTHON)
    async with ProcessPool(1) as pool:
        assert await execute(pool, PYTHON) is None
        assert Run.started == Zygote.started and Runner.started == []


@pytest.mark.parametrize("isolation", [Isolation.PROCESS, Isolation.RUNNER])
async def test_a_runner_that_is_spent_is_replaced_before_the_next_run(isolation: Isolation) -> None:
    async with ProcessPool(1, isolation) as pool:
        await execute(pool)
        if isolation is Isolation.RUNNER:
            Run.started[0].abandon()
            await execute(pool)
        first, second = Runner.started
        assert first.was_closed and not second.was_closed
        await execute(pool)
        assert Run.started[-1] is second
        assert (second.is_usable, second.watched) == (
            (True, 2) if isolation is Isolation.RUNNER else (False, 0)
        )


async def test_an_idle_runner_that_has_died_is_closed_and_costs_no_run() -> None:
    async with ProcessPool(1) as pool:
        await execute(pool)
        Runner.started[0].is_usable = False
        assert await execute(pool) is None
        first, second = Runner.started
        assert first.was_closed and Run.started == [first, second]


async def test_a_runner_that_cannot_be_replaced_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def spend(runner: Any) -> None:
        runner.abandon()
        monkeypatch.setattr(Runner, "may_start", False)

    monkeypatch.setattr(Run, "act", staticmethod(spend))
    async with ProcessPool(1) as pool:
        assert await execute(pool) is None
    assert len(Runner.started) == 1 and Runner.started[0].was_closed


# --- what fails -----------------------------------------------------------------------------------


async def test_a_run_that_is_cancelled_before_it_starts_has_no_process() -> None:
    cancel = asyncio.Event()
    async with ProcessPool(1) as pool:
        assert await execute(pool, cancel=cancel) is None
        cancel.set()
        assert await execute(pool, cancel=cancel) == ("CancelledError", "the run was cancelled")
    assert len(Run.started) == 1


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RequestUnreadError, ("ProcessError", "the run's process ended before the run")),
        (ZygoteError, ("ZygoteError", "the process that forks runs is gone")),
    ],
)
@pytest.mark.parametrize("failures", [2, 3])
async def test_a_run_that_no_process_has_read_is_given_to_three(
    error: type[Exception], message: tuple[str, str], failures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "act", staticmethod(raising(*[error] * failures)))
    async with ProcessPool(1) as pool:
        assert await execute(pool) == (None if failures == 2 else message)
    assert len(Run.started) == 3


async def test_a_zygote_that_is_gone_is_closed_and_started_again() -> None:
    async with ProcessPool(1) as pool:
        await execute(pool)
        first = Zygote.started[0]
        first.gone, first.listening = True, False
        assert await execute(pool) is None
        assert first.closed and Runner.started[0].was_closed
        assert [each.closed for each in Zygote.started] == [True, False]
        assert Run.started[-1].zygote is Zygote.started[1]


async def test_a_zygote_that_does_not_start_is_tried_three_times() -> None:
    Zygote.failures[:] = [ZygoteError(), ZygoteError()]
    async with ProcessPool(1) as pool:
        assert await execute(pool) is None
        assert [each.closed for each in Zygote.started] == [True, True, False]
    Zygote.failures[:] = [ZygoteError()] * 4
    async with pool:
        assert await execute(pool) == ("ZygoteError", "the process that forks runs is gone")
        assert len(Zygote.failures) == 1


async def test_a_bundle_that_does_not_load_ends_its_run_at_once() -> None:
    Zygote.failures[:] = [BundleError("the adaptor could not be loaded: x")]
    async with ProcessPool(1) as pool:
        assert await execute(pool) == ("AdaptorError", "the adaptor could not be loaded: x")
        assert len(Zygote.started) == 1 and Zygote.started[0].closed


async def test_a_large_request_of_an_evaluator_does_not_hold_up_the_loop() -> None:
    request = replace(JAVASCRIPT, input="x" * 4_000_000)
    async with ProcessPool(1) as pool:
        starting = asyncio.create_task(pool.start_evaluator(request))
        while not Zygote.started[0].channels:
            await asyncio.sleep(0)
        _, theirs = Zygote.started[0].channels
        theirs.setblocking(False)
        received = 0
        while received < 4_000_000:
            received += len(await asyncio.get_running_loop().sock_recv(theirs, 1 << 20))
        evaluator = await starting
        evaluator.close()
        theirs.close()


# --- eviction -------------------------------------------------------------------------------------


async def test_the_zygote_that_was_used_longest_ago_is_stopped() -> None:
    assert MAX_ZYGOTES == 4
    async with ProcessPool(1) as pool:
        for number in (0, 1, 0, 2, 3):
            assert await execute(pool, with_realm(number)) is None
        # With the usual one, which has never been used and is not ready, there are five.
        assert [each.closed for each in Zygote.started] == [False, False, True, False, False]


async def test_a_zygote_with_a_run_is_not_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    held = asyncio.Event()
    async with ProcessPool(6) as pool:
        await pool.close()
        monkeypatch.setattr(Run, "held", held)
        tasks = [asyncio.create_task(execute(pool, with_realm(number))) for number in range(6)]
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(Run.started) == 6
        assert not any(zygote.closed for zygote in Zygote.started[1:])
        held.set()
        await asyncio.gather(*tasks)
        assert await execute(pool, with_realm(5)) is None
        assert sum(not zygote.closed for zygote in Zygote.started) == 4


async def test_a_zygote_with_a_process_that_is_no_idle_runner_is_not_stopped() -> None:
    async with ProcessPool(1) as pool:
        await pool.close()
        for number in range(5):
            await execute(pool, with_realm(number))
            if number == 0:
                Zygote.started[1].forked += 1
        assert [each.closed for each in Zygote.started[1:]] == [False, True, False, False, False]
