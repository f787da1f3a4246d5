"""A broker of MQTT 5 that answers each acknowledged message with a reason that the test chooses."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Self

from paho.mqtt.client import MQTTMessage

from tests.support.packet_recorder import read_packet
from worker.fleet.messaging.publish_packet import decode_publish

SUCCESS, NOT_AUTHORIZED, QUOTA_EXCEEDED = 0x00, 0x87, 0x97
_CONNACK = bytes((0x20, 3, 0, 0, 0))
_PINGRESP = bytes((0xD0, 0))


class ScriptedBroker:
    """A broker that delivers nothing; ``reason`` returns the reason code for each message."""

    def __init__(self, reason: Callable[[MQTTMessage], int]) -> None:
        self._reason = reason
        self.received: list[tuple[str, bytes, int]] = []
        """Topic, payload and reason of each message."""
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"mqtt://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *reason: object) -> None:
        self._server.close()

    async def until(self, holds: Callable[[list[tuple[str, bytes, int]]], bool]) -> None:
        """Wait until the messages so far fulfil a condition."""
        async with asyncio.timeout(60), self._changed:
            await self._changed.wait_for(lambda: holds(self.received))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head, body = await read_packet(reader)
                writer.write(await self._answer(head[0], body))
        writer.close()

    async def _answer(self, command: int, body: bytes) -> bytes:
        match command & 0xF0:
            case 0x10:
                return _CONNACK
            case 0x80:  # a subscription, with QoS 1
                return bytes((0x90, 4)) + body[:2] + bytes((0, 1))
            case 0xC0:
                return _PINGRESP
            case 0x30:
                return await self._acknowledge(decode_publish(command, body))
            case _:
                return b""

    async def _acknowledge(self, message: MQTTMessage) -> bytes:
        code = self._reason(message)
        async with self._changed:
            self.received.append((message.topic, bytes(message.payload), code))
            self._changed.notify_all()
        if not message.qos:
            return b""
        return bytes((0x40, 3)) + message.mid.to_bytes(2, "big") + bytes((code,))
