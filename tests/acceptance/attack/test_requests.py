"""Attacks by way of requests: what services answer, and what jobs ask for."""

from __future__ import annotations

import asyncio
import json
import select
import socket
import ssl
import threading
import time
import tracemalloc
import uuid
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.support.child_frames import ChildFrames
from tests.support.helpers import job, workflow
from tests.support.services import Asked, Service, call, get, resolve_to, serving
from worker.adaptors.http import connections
from worker.adaptors.http.addresses import is_public
from worker.adaptors.http.allowlist import Reach, parse_host_pattern
from worker.adaptors.http.live_host import LiveHost
from worker.core.events import AnyEvent, RunComplete
from worker.fleet.worker import run_executor
from worker.fleet.worker.run_executor import Allowance, RunExecutor
from worker.runner.pool import Pool
from worker.runner.prepare import Options, prepare
from worker.sandbox.limits import Limits
from worker.sandbox.parent.host import RunTraffic, TrafficExceeded
from worker.sandbox.parent.run_process import RunProcess
from worker.sandbox.parent.zygote_client import ForkedProcess, ProcessExit
from worker.sandbox.protocol import encode_frame

MB = 1024 * 1024


@asynccontextmanager
async def open_host(*allowed: str) -> AsyncIterator[LiveHost]:
    host = LiveHost(Reach(everywhere=tuple(map(parse_host_pattern, allowed or ("127.0.0.1",)))))
    try:
        yield host
    finally:
        await host.close()


# --- sessions -------------------------------------------------------------------------------------


def sign_in(asked: Asked) -> tuple[int, dict[str, str], bytes]:
    cookie = {"set-cookie": "session=ADMIN; Path=/"}
    match asked.path:
        case "/login":
            return 200, cookie, b""
        case "/hop":
            return 302, {**cookie, "location": "/who"}, b""
    return 200, {}, asked.headers.get("cookie", "").encode()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(("a", "", True), ("a", "", True), id="the same step again"),
        pytest.param(("a", "", True), ("b", "", True), id="another step"),
        pytest.param(("a", "x", True), ("b", "y", True), id="another credential"),
        pytest.param(("a", "", True), ("a", "", False), id="another run"),
    ],
)
async def test_a_session_that_one_response_opens_is_no_later_requests(
    first: Any, second: Any
) -> None:
    """Tries to act as somebody else: with the session cookie that another request was given."""
    run = RunTraffic()
    by = [call(step, name, run if same else None) for step, name, same in (first, second)]
    with serving(sign_in) as service:
        async with open_host() as host:
            login = await get(host, service.url("/login"), by[0])
            assert ("set-cookie", "session=ADMIN; Path=/") in [
                (name.lower(), value) for name, value in login.headers
            ]
            assert (await get(host, service.url("/who"), by[1])).body == b""
            hopped = await get(host, service.url("/hop"), by[1], redirects=1)
            assert hopped.status == 200 and hopped.body == b"", "nor in a redirect"
            own = await get(host, service.url("/who"), by[1], ("cookie", "session=OWN"))
            assert own.body == b"session=OWN", "the job's own cookie is sent"


# --- connections ----------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return authority


def tls_for(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


def greet(asked: Asked) -> tuple[int, dict[str, str], bytes]:
    return 200, {}, asked.headers.get("authorization", "").encode()


async def test_a_certificate_of_one_name_is_not_taken_for_another_on_an_open_connection(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tries to receive a bank's password: its name is made to lead to a server for another name."""
    resolve_to(monkeypatch)
    with serving(greet, tls_for(authority, "a.test")) as service:
        async with open_host("a.test", "bank.test") as host:
            assert (await get(host, f"https://a.test:{service.port}/")).status == 200
            password = ("authorization", "Basic secret")
            stolen = await get(host, f"https://bank.test:{service.port}/", None, password)
            assert stolen.error.get("code") == "CERT_INVALID"
            assert [asked.headers.get("authorization") for asked in service.asked] == [None]
            assert service.names == ["a.test", "bank.test"]


async def test_two_names_of_one_address_share_no_connection(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tries to be served for one name over the connection of another."""
    resolve_to(monkeypatch)
    with serving(greet, tls_for(authority, "a.test", "b.test")) as service:
        async with open_host("a.test", "b.test") as host:
            for name in ("a", "b", "a", "b"):
                reply = await get(host, f"https://{name}.test:{service.port}/")
                assert reply.status == 200
    used = [(asked.headers["host"].partition(".")[0], asked.connection) for asked in service.asked]
    assert used == [("a", 1), ("b", 2), ("a", 1), ("b", 2)]
    assert service.names == ["a.test", "b.test"]


async def test_two_credentials_share_no_connection() -> None:
    """Tries to go on as the user for whom a service signed a connection in."""
    with serving(greet) as service:
        async with open_host() as host:
            for credential in ("x", "y", "", "x"):
                await get(host, service.url(), call(credential=credential))
    assert [asked.connection for asked in service.asked] == [1, 2, 3, 1]


async def test_pools_of_many_credentials_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries to use up descriptors: with a connection for each of many credentials."""
    monkeypatch.setattr(connections, "MAX_POOLS", 2)
    with serving(greet) as service:
        async with open_host() as host:
            for credential in ("x", "y", "z", "y", "x"):
                await get(host, service.url(), call(credential=credential))
    # "x" was closed for "z", and "y" was open all along.
    assert [asked.connection for asked in service.asked] == [1, 2, 3, 2, 4]


# --- bytes ----------------------------------------------------------------------------------------


def bomb(size: int) -> bytes:
    stream = zlib.compressobj(9, wbits=31)
    return b"".join((*(stream.compress(bytes(MB)) for _ in range(size // MB)), stream.flush()))


BOMB = bomb(45 * MB)


def explode(asked: Asked) -> tuple[int, dict[str, str], bytes]:
    return 200, {"content-encoding": "gzip"}, BOMB


async def test_a_bomb_is_stopped_while_it_is_decompressed() -> None:
    """Tries to fill the worker's memory: 45 kB that become 45 MB, in a run that may hold 8 MB."""
    with serving(explode) as service:
        async with open_host() as host:
            await get(host, service.url("/"), call(run=RunTraffic(200 * MB)))
            tracemalloc.start()
            try:
                with pytest.raises(TrafficExceeded):
                    await get(host, service.url("/"), call(run=RunTraffic(8 * MB)))
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
    assert peak < 16 * MB


async def test_a_bomb_in_a_bomb_is_stopped_too() -> None:
    """Tries to fill the worker's memory: with a body that is compressed twice."""
    body = zlib.compress(BOMB * 4, 9, wbits=31)
    twice = {"content-encoding": "gzip, gzip"}
    with serving(lambda asked: (200, twice, body)) as service:
        async with open_host() as host:
            with pytest.raises(TrafficExceeded):
                await get(host, service.url(), call(run=RunTraffic(8 * MB)))
            tall = {"content-encoding": ", ".join(["gzip"] * 6)}
    with serving(lambda asked: (200, tall, body)) as service:
        async with open_host() as host:
            reply = await get(host, service.url())
            assert "more than 5 content codings" in reply.error["message"]


class Attacker:
    """A run whose process is hostile: the test sends its calls, and may read the replies."""

    def __init__(self, host: LiveHost, **limits: Any) -> None:
        ours, self.channel = socket.socketpair()
        self.channel.setblocking(False)
        self.exited: asyncio.Future[ProcessExit] = asyncio.get_running_loop().create_future()
        self.forked = ForkedProcess(name="0", channel=ours, exited=self.exited)
        self.events: list[AnyEvent] = []
        flow = workflow(job("fn(s => s);"))
        request = prepare(flow, {}, Options(limits=Limits(**limits)), str(uuid.uuid4()))
        process = RunProcess(self, request, self.events.append, host)
        self.task = asyncio.create_task(process.run(None))
        self.task.add_done_callback(lambda _: self.channel.close())
        self._frames = ChildFrames(request)
        self._number = 0

    def fork(self) -> ForkedProcess:
        return self.forked

    def kill(self, name: str) -> None:
        if not self.exited.done():
            self.exited.set_result(ProcessExit(code=-9, peak_bytes=0))
            # Not closed: whoever waits to send would wait for ever.
            self.channel.shutdown(socket.SHUT_RDWR)

    async def start(self) -> None:
        await self._send(self._frames.run_start())
        await self._send(self._frames.step_start())

    async def get(self, url: str, times: int = 1, body: str = "") -> None:
        text = json.dumps({"method": "GET", "url": url, "text": body})
        for _ in range(times):
            self._number += 1
            await self._send(self._frames.call(self._number), text)

    async def _send(self, header: dict[str, Any], text: str | None = None) -> None:
        await asyncio.get_running_loop().sock_sendall(self.channel, encode_frame(header, text))

    def receive(self, size: int) -> None:
        """Read what the parent sends, in a thread, until it is so many bytes."""
        while size > 0 and select.select([self.channel], [], [], 60)[0]:
            size -= len(self.channel.recv(1 << 18))

    async def outcome(self) -> str:
        await asyncio.wait_for(self.task, 120)
        (event,) = [event for event in self.events if isinstance(event, RunComplete)]
        return f"{event.reason} {event.error.type if event.error else ''}"


async def longest_turn(task: asyncio.Task[None]) -> float:
    """Return the longest that the event loop computed without a pause while a task ran."""
    longest = 0.0
    while not task.done():
        # The thread's own time: it does not depend on what else the machine does.
        before = time.thread_time()
        await asyncio.sleep(0)
        longest = max(longest, time.thread_time() - before)
    return longest


@pytest.mark.slow
async def test_a_run_that_fires_bombs_is_killed_and_holds_nobody_up() -> None:
    """Tries to kill the worker: 100 requests at once, each of which is answered by 45 MB."""
    with serving(explode) as service:
        async with open_host() as host:
            attacker = Attacker(host, memory_mb=60)
            await attacker.start()
            tracemalloc.start()
            try:
                await attacker.get(service.url(), times=100)
                assert await attacker.outcome() == "kill OomError"
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert peak < 60 * MB + 64 * MB
            # Nothing of it is left for the next run to wait for.
            with suppress(TrafficExceeded):
                await asyncio.wait_for(get(host, service.url(), call(run=RunTraffic(MB))), 10)


TEXT = b"text with a snowman \xe2\x98\x83 and more " * (MB // 2)


@pytest.mark.slow
async def test_large_replies_are_converted_beside_the_event_loop() -> None:
    """Tries to hold up other runs: with replies whose conversion takes long."""
    body = zlib.compress(TEXT, 1, wbits=31)
    with serving(lambda asked: (200, {"content-encoding": "gzip"}, body)) as service:
        async with open_host() as host:
            attacker = Attacker(host, memory_mb=2000)
            await attacker.start()
            longest = asyncio.create_task(longest_turn(attacker.task))
            await attacker.get(service.url(), times=4)
            await asyncio.to_thread(attacker.receive, 4 * len(TEXT))
            attacker.kill("0")
            await attacker.task
            assert await longest < 0.05


async def test_requests_that_wait_count_too() -> None:
    """Tries to fill the worker's memory: with bodies of requests that a service never reads."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        async with open_host() as host:
            attacker = Attacker(host, memory_mb=20)
            await attacker.start()
            with suppress(OSError):
                await attacker.get(url, times=40, body="x" * MB)
            assert await attacker.outcome() == "kill OomError"


@pytest.mark.slow
async def test_replies_that_were_delivered_count_no_more() -> None:
    """Looks at the other side: a run may receive more than its limit, one after the other."""
    with serving(lambda asked: (200, {}, b"x" * MB)) as service:
        async with open_host() as host:
            attacker = Attacker(host, memory_mb=20)
            await attacker.start()
            reader = asyncio.create_task(asyncio.to_thread(attacker.receive, 20 * MB))
            for _ in range(20):
                await attacker.get(service.url())
                while len(service.asked) < attacker._number:
                    await asyncio.sleep(0.005)
                await asyncio.sleep(0.05)
            await asyncio.wait_for(reader, 60)
            assert not attacker.task.done()
            attacker.kill("0")
            await attacker.task


# --- fairness -------------------------------------------------------------------------------------


async def test_slow_requests_of_one_run_do_not_hold_up_another() -> None:
    """Tries to starve other runs of the same workflow: with requests that are never answered."""
    over = threading.Event()

    def answer(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        if asked.path == "/slow":
            over.wait(60)
        return 200, {}, b"ok"

    with serving(answer) as service:
        async with open_host() as host:
            hog = RunTraffic()
            slow = [
                asyncio.create_task(get(host, service.url("/slow"), call(run=hog)))
                for _ in range(200)
            ]
            while len(service.asked) < 20:
                await asyncio.sleep(0.01)
            reply = await asyncio.wait_for(get(host, service.url(), call(run=RunTraffic())), 20)
            assert reply.body == b"ok"
            assert len(service.asked) == 21, "a run has so many slots and no more"
            for task in slow:
                task.cancel()
            await asyncio.gather(*slow, return_exceptions=True)
            over.set()


# --- addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "0.0.0.0", "0.1.2.3", "255.255.255.255", "240.0.0.1", "198.18.0.1", "192.0.2.1",
        "192.0.0.8", "192.0.0.192", "192.88.99.1", "168.63.129.16",
        "224.0.0.1", "232.1.1.1", "239.255.255.250",
        "::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "::ffff:224.0.0.1", "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b::808:808", "64:ff9b:1::1",
        "64:ff9b:1:ffff::a00:1",
        "2002:7f00:1::", "2002:c0a8:101::1", "2002:808:808::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001::1", "2001:10::1", "2001:20::1",
        "2001:db8::1", "3fff::1", "100::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1",
        "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1", "4000::1", "e000::1",
    ],
)  # fmt: skip
def test_an_address_that_leads_inside_is_private(address: str) -> None:
    """Tries to reach this machine or its network by an address that looks like a public one."""
    assert is_public(address) is False


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "::ffff:8.8.8.8", "2606:4700::1111", "2a00:1450::1"]
)
def test_an_address_of_the_internet_is_public(address: str) -> None:
    """Looks at the other side: services on the internet stay within reach."""
    assert is_public(address) is True


@pytest.mark.parametrize("address", ["64:ff9b::7f00:1", "::127.0.0.1", "224.0.0.1"])
async def test_a_name_that_leads_to_such_an_address_is_refused(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tries to reach a private network by a name of the attacker's, which a pattern allows."""
    resolve_to(monkeypatch, address)
    async with open_host("*") as host:
        reply = await get(host, "http://evil.test:9/", timeout_s=5)
        assert f"evil.test has the private address {address}" in reply.error["message"]


# --- hosts that are dropped -----------------------------------------------------------------------


@pytest.fixture
def service() -> Iterator[Service]:
    with serving(greet) as service:
        yield service


@pytest.mark.slow
async def test_hosts_of_plans_that_are_dropped_are_closed(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tries to use up descriptors: with more workflows than a worker keeps."""
    monkeypatch.setattr(run_executor, "MAX_CACHED_WORKFLOWS", 2)
    closed: list[LiveHost] = []
    real = LiveHost.close

    async def close(self: LiveHost) -> None:
        closed.append(self)
        await real(self)

    monkeypatch.setattr(LiveHost, "close", close)
    async with Pool(size=1) as pool:
        executor = RunExecutor(pool, Allowance(hosts=(parse_host_pattern("127.0.0.1"),)))
        for number in range(4):
            async with executor._loaded(assigned(f"p{number}")) as plan:
                await plan.host.send(request_to(service), call())
        assert len(closed) == 2
        # A plan that a run uses is not closed under it, even if it is the oldest.
        async with executor._loaded(assigned("p2")) as plan:
            for number in range(4, 7):
                async with executor._loaded(assigned(f"p{number}")):
                    pass
            assert (await plan.host.send(request_to(service), call())).status == 200
            assert plan.host._live not in closed
        await executor.close()
    assert len(closed) == 4


def request_to(service: Service) -> Any:
    from worker.adaptors.http.exchange import HttpRequest

    return HttpRequest(method="GET", url=service.url())


def assigned(plan_id: str) -> Any:
    from types import SimpleNamespace

    plan = {"workflow": {"name": "w", "steps": [job("fn(s => s);")]}}
    return SimpleNamespace(plan_id=plan_id, plan=json.dumps(plan).encode())
