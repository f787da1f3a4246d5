"""Compression of the connection to Lightning: large messages alone, with any peer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

from worker.lightning.compression import (
    SMALL_BYTES,
    ClientCompression,
    LargeMessageDeflate,
    ServerCompression,
)

CLIENTS: dict[str, dict[str, Any]] = {
    "ours": {"compression": None, "extensions": [ClientCompression()]},
    "plain": {"compression": None},
    "usual": {},
}
SERVERS: dict[str, dict[str, Any]] = {
    "ours": {"compression": None, "extensions": [ServerCompression()]},
    "plain": {"compression": None},
    "usual": {},
}


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("client", CLIENTS)
async def test_messages_of_any_size_pass_between_any_peers(client: str, server: str) -> None:
    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    texts = ["", "x", "x" * (SMALL_BYTES - 1), "x" * SMALL_BYTES, "é" * 100_000]
    messages: list[str | bytes] = [*texts, bytes(5000)]
    async with serve(echo, "127.0.0.1", 0, **SERVERS[server]) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}", **CLIENTS[client]) as connection:
            for message in [*messages, *reversed(messages)]:
                await connection.send(message)
                assert await connection.recv() == message


@given(st.lists(st.integers(0, 3 * SMALL_BYTES), min_size=1, max_size=6))
def test_large_messages_alone_are_compressed(sizes: list[int]) -> None:
    ours = LargeMessageDeflate(False, False, 12, 12, {"memLevel": 5})
    usual = PerMessageDeflate(False, False, 12, 12, {"memLevel": 5})
    for size in sizes:
        frame = Frame(Opcode.TEXT, b"x" * size)
        encoded = ours.encode(frame)
        assert encoded.rsv1 is (size >= SMALL_BYTES)
        assert bytes(usual.decode(encoded).data) == frame.data
