"""Connections that pass messages on at once, and write those of one turn of the loop together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import Opcode
from websockets.utils import accept_key

from worker.lightning.message_connection import ClientMessages, ServerMessages

pytestmark = pytest.mark.asyncio


class Messages:
    """Messages that the client has received, and the connection of the server."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[tuple[bytes, bool]] = asyncio.Queue()
        self.server: asyncio.Future[ServerConnection] = asyncio.get_running_loop().create_future()

    async def serve(self, connection: ServerConnection) -> None:
        self.server.set_result(connection)
        await connection.wait_closed()

    def receive(self, data: bytes, is_text: bool) -> None:
        self.received.put_nowait((data, is_text))


@asynccontextmanager
async def connected(messages: Messages) -> AsyncIterator[ClientMessages]:
    factory = cast("Any", partial(ClientMessages, on_message=messages.receive))
    async with serve(messages.serve, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}", create_connection=factory) as connection:
            yield cast("ClientMessages", connection)


async def test_messages_in_parts_and_whole_come_in_their_order() -> None:
    messages = Messages()
    async with connected(messages):
        server = await messages.server
        await server.send(["a", "", "", "é"])
        await server.send("whole")
        await server.send([b"\x00", b"\xff"])
        received = [await messages.received.get() for _ in range(3)]
    assert received == [("aé".encode(), True), (b"whole", True), (b"\x00\xff", False)]


async def read_opcode(reader: asyncio.StreamReader) -> int:
    """Read a short frame of a client, and return its opcode."""
    first, size = await reader.readexactly(2)
    # The mask and the content.
    await reader.readexactly(4 + (size & 0x7F))
    return first & 0x0F


async def raw_client(split: int) -> tuple[list[tuple[bytes, bool]], str]:
    """Send frames of all kinds in pieces of a size; return what came and how the end was."""
    received: list[tuple[bytes, bool]] = []

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        key = next(
            line for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")
        )
        accept = accept_key(key.partition(b":")[2].strip().decode())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept.encode() + b"\r\n\r\n"
        )
        await writer.drain()
        await read_opcode(reader)
        for begin in range(0, len(STREAM), split):
            writer.write(STREAM[begin : begin + split])
            await writer.drain()
            await asyncio.sleep(0)
        while await read_opcode(reader) != Opcode.CLOSE:
            pass
        writer.close()

    factory = cast("Any", partial(ClientMessages, on_message=lambda *m: received.append(m)))
    server = await asyncio.start_server(respond, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, connect(f"ws://127.0.0.1:{port}", create_connection=factory) as connection:
        client = cast("ClientMessages", connection)
        client.post(b"go")
        await client.wait_closed()
        ended = str(client.protocol.close_exc.sent)
    return received, ended


def frame(first: int, content: bytes) -> bytes:
    size = len(content)
    if size < 126:
        return bytes((first, size)) + content
    if size < 65536:
        return bytes((first, 126)) + size.to_bytes(2, "big") + content
    return bytes((first, 127)) + size.to_bytes(8, "big") + content


LARGE = b"x" * 70_000
STREAM = b"".join(
    (
        frame(0x81, b"a"), frame(0x89, b"ping"), frame(0x82, b"\x00" * 200), frame(0x81, b""),
        frame(0x01, b"in "), frame(0x89, b""), frame(0x80, b"parts"), frame(0x81, LARGE),
        frame(0x82, b"b"), frame(0x01, b"begun"), frame(0x81, b"within another"), frame(0x81, b"late"),
    )
)  # fmt: skip


@pytest.mark.parametrize("split", [1_000_000, 997, 7])
async def test_frames_of_all_kinds_come_in_their_order_however_they_are_split(split: int) -> None:
    received, ended = await raw_client(split)
    assert received == [
        (b"a", True), (b"\x00" * 200, False), (b"", True), (b"in parts", True), (LARGE, True),
        (b"b", False),
    ]  # fmt: skip
    # The message within another ends the connection, and nothing that follows is received.
    assert ended.startswith("1002")


@pytest.mark.parametrize("size", [0, 125, 126, 1023, 1024, 65_535, 65_536, 200_000])
@pytest.mark.parametrize("is_text", [True, False])
async def test_messages_of_all_sizes_arrive_both_ways(size: int, is_text: bool) -> None:
    data = (b"0123456789" * (size // 10 + 1))[:size]
    arrived: asyncio.Queue[tuple[bytes, bool]] = asyncio.Queue()

    def echo(connection: ServerMessages, message: bytes, text: bool) -> None:
        assert text
        connection.post(message, is_text=is_text)

    async def idle(connection: ServerConnection) -> None:
        await connection.wait_closed()

    ours = cast("Any", partial(ServerMessages, on_message=echo))
    factory = cast("Any", partial(ClientMessages, on_message=lambda *m: arrived.put_nowait(m)))
    async with serve(idle, "127.0.0.1", 0, create_connection=ours) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}", create_connection=factory) as connection:
            for _ in range(2):
                cast("ClientMessages", connection).post(data)
                assert await arrived.get() == (data, is_text)


async def test_messages_of_one_turn_are_written_together(monkeypatch: pytest.MonkeyPatch) -> None:
    messages, written = Messages(), list[str]()
    async with connected(messages) as connection:
        server = await messages.server
        write, sizes = connection.transport.write, list[int]()

        def count_and_write(data: bytes) -> None:
            sizes.append(len(data))
            write(data)

        monkeypatch.setattr(connection.transport, "write", count_and_write)
        for text in ("one", "two", "three"):
            connection.post(text.encode(), partial(written.append, text))
        assert not written
        assert [await server.recv() for _ in range(3)] == ["one", "two", "three"] == written
        assert len(sizes) == 1


async def test_message_for_a_connection_that_is_closed_is_not_written() -> None:
    messages, written = Messages(), list[str]()
    async with connected(messages) as connection:
        await (await messages.server).close()
        await connection.wait_closed()
        connection.post(b"late", partial(written.append, "late"))
        await asyncio.sleep(0)
    assert not written
