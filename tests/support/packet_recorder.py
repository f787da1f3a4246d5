"""Recorder of all messages that one participant publishes: a proxy before the broker (MQTT 5)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Self

from paho.mqtt.client import MQTTMessage

from worker.fleet.messaging.publish_packet import decode_publish

_PUBLISH = 0x30
Receive = Callable[[MQTTMessage], None]


class PacketRecorder:
    """A TCP proxy that passes packets on, and gives each message of its clients to ``receive``."""

    def __init__(self, port: int, receive: Receive) -> None:
        self._broker = port
        self._receive = receive

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"mqtt://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *reason: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        replies, requests = await asyncio.open_connection("127.0.0.1", self._broker)
        with contextlib.suppress(asyncio.CancelledError):  # the conversation is over
            await asyncio.gather(self._forward(reader, requests), _copy(replies, writer))

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head, body = await read_packet(reader)
                # Before it is passed on: what answers it is recorded after it.
                if head[0] & 0xF0 == _PUBLISH:
                    self._receive(decode_publish(head[0], body))
                writer.write(head + body)
                await writer.drain()
        writer.close()


async def read_packet(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read the fixed header and the rest of a packet."""
    head, size, shift = await reader.readexactly(1), 0, 0
    while True:
        byte = await reader.readexactly(1)
        head += byte
        size |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            return head, await reader.readexactly(size)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
