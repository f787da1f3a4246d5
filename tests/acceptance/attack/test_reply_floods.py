"""Attacks by services whose replies are cheap to send, and expensive to read."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpcore
import pytest

from tests.support.services import call, get
from worker.adaptors.http import connections
from worker.adaptors.http.allowlist import Reach, parse_host_pattern
from worker.adaptors.http.fair_stream import READ_BYTES, FairStream
from worker.adaptors.http.live_host import LiveHost
from worker.sandbox.parent.host import RunTraffic


class Flood(httpcore.AsyncNetworkStream):
    """A connection that always has more."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return b"x" * max_bytes

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return Flood()


async def test_of_all_connections_one_is_read_in_a_turn_of_the_loop() -> None:
    """Twenty connections bring more than the loop can parse, all the time."""
    turn, reads = 0, list[int]()

    async def request(stream: httpcore.AsyncNetworkStream) -> None:
        for _ in range(5):
            assert len(await stream.read(1 << 20)) == READ_BYTES
            reads.append(turn)

    plain = [FairStream(Flood()) for _ in range(10)]
    encrypted = [await stream.start_tls(ssl.create_default_context()) for stream in plain]
    tasks = [asyncio.create_task(request(stream)) for stream in (*plain, *encrypted)]
    while not all(task.done() for task in tasks):
        turn += 1
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert len(reads) == 100 and len(set(reads)) == 100


CHUNKS = b"1\r\nx\r\n" * 10_000
FLOODS = {
    "chunks of a byte": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + CHUNKS,
    "responses before the response": b"HTTP/1.1 100 \r\n\r\n" * 4000 + b"HTTP/1.1 200 OK\r\n\r\n",
    "headers": b"HTTP/1.1 200 OK\r\n" + b"a:b\r\n" * 19_000 + b"\r\n",
}


@contextmanager
def flooding(content: bytes) -> Iterator[int]:
    """Serve one reply, which ends with the connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError), server.accept()[0] as client:
                client.recv(65536)
                client.sendall(content)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


@pytest.mark.parametrize("content", FLOODS.values(), ids=list(FLOODS))
async def test_a_reply_of_many_parts_comes_in_many_turns(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tries to keep a worker from its other runs, whose timeouts came seconds late."""
    sizes: list[int] = []

    class Counted(FairStream):
        async def read(self, *arguments: Any, **options: Any) -> bytes:
            read = await super().read(*arguments, **options)
            sizes.append(len(read))
            return read

    monkeypatch.setattr(connections, "FairStream", Counted)
    with flooding(content) as port:
        host = LiveHost(Reach(everywhere=(parse_host_pattern(f"127.0.0.1:{port}"),)))
        reply = await get(host, f"http://127.0.0.1:{port}/", call(run=RunTraffic(10**8)))
        await host.close()
    assert reply.status == 200 or reply.error
    assert len(sizes) >= len(content) // READ_BYTES // 2 and max(sizes) <= READ_BYTES
