"""Websocket connection that passes messages on at once, and writes those of one turn together.

The library's own ``recv()`` and ``send()`` wake a task for each message and make a system call for
each, which takes longer than all else that a small message needs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection
from websockets.frames import DATA_OPCODES, Frame, Opcode
from websockets.protocol import State

OnWritten = Callable[[], None]


def _ignore() -> None:
    pass


class _MessageReader:
    """Joins the frames of messages; ``on_message`` gets the data, and whether it is text."""

    def __init__(self, on_message: Callable[[bytes, bool], None]) -> None:
        self._on_message = on_message
        self._parts = bytearray()
        self._is_text = False

    def read(self, frame: Frame) -> None:
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
            if frame.fin:
                self._on_message(bytes(frame.data), self._is_text)
                return
        # In one buffer: empty parts without an end take no memory.
        self._parts += frame.data
        if frame.fin:
            data = bytes(self._parts)
            self._parts.clear()
            self._on_message(data, self._is_text)


class _MessageWriter:
    """Writes the messages of one turn of the event loop with one system call."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: list[tuple[bytes, bool, OnWritten]] = []

    def post(self, data: bytes, is_text: bool, on_written: OnWritten) -> None:
        if not self._waiting:
            self._connection.loop.call_soon(self._flush)
        self._waiting.append((data, is_text, on_written))

    def _flush(self) -> None:
        messages, self._waiting = self._waiting, []
        protocol = self._connection.protocol
        if protocol.state is not State.OPEN:
            # They are never written. Those who wait for replies are notified of the loss.
            return
        for data, is_text, _ in messages:
            if is_text:
                protocol.send_text(data)
            else:
                protocol.send_binary(data)
        self._connection.transport.write(b"".join(protocol.data_to_send()))
        for _, _, on_written in messages:
            on_written()


class ClientMessages(ClientConnection):
    """Connection of a client. ``on_message`` receives all messages, and ``recv()`` none."""

    def __init__(
        self, *arguments: Any, on_message: Callable[[bytes, bool], None], **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self._reader = _MessageReader(on_message)
        self._writer = _MessageWriter(self)

    def post(self, data: bytes, on_written: OnWritten = _ignore) -> None:
        """Write a text message at the end of this turn, and call ``on_written`` then.

        Where the connection is closed by then, neither happens.
        """
        self._writer.post(data, True, on_written)

    def process_event(self, event: Any) -> None:
        # The first event is the response of the handshake.
        if self.response is not None and event.opcode in DATA_OPCODES:
            self._reader.read(event)
        else:
            super().process_event(event)


class ServerMessages(ServerConnection):
    """Connection of a server. ``on_message`` receives it with each message, and ``recv()`` none."""

    def __init__(
        self,
        *arguments: Any,
        on_message: Callable[[ServerMessages, bytes, bool], None],
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._reader = _MessageReader(functools.partial(on_message, self))
        self._writer = _MessageWriter(self)

    def post(self, data: bytes, *, is_text: bool = True) -> None:
        """Write a message at the end of this turn, if the connection is open then."""
        self._writer.post(data, is_text, _ignore)

    def process_event(self, event: Any) -> None:
        # The first event is the request of the handshake.
        if self.request is not None and event.opcode in DATA_OPCODES:
            self._reader.read(event)
        else:
            super().process_event(event)
