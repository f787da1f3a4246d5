"""Process that handles batches of items for :mod:`worker.runner.parallel`.

The channel carries frames of pickled objects. The parent sends the work, then batches of items; the
process sends an empty list when it is ready, then lists of results.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import socket
import struct
import sys
from typing import Any

_LENGTH = struct.Struct("!Q")
# Results of this time go in one frame: a frame costs the parent more than a short result.
_DELAY_S = 0.02


def encode_frame(value: Any) -> bytes:
    """Encode a value as one frame."""
    body = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(body)) + body


async def read_frame(reader: asyncio.StreamReader) -> Any:
    """Read one frame. Raises ``EOFError`` at the end of the stream."""
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    # Both ends are this package: code of jobs runs in the sandbox, which has no such channel.
    return pickle.loads(await reader.readexactly(length))  # noqa: S301


async def serve(channel: socket.socket) -> None:
    """Handle batches until the parent closes the channel."""
    reader, writer = await asyncio.open_connection(sock=channel)
    work = await read_frame(reader)
    batches: asyncio.Queue[Any] = asyncio.Queue()
    async with work.open(1) as handle:
        receiving = asyncio.create_task(_receive(reader, batches))
        sender = _ResultSender(writer)
        writer.write(encode_frame([]))
        while not receiving.done():
            async for result in handle(await batches.get()):
                sender.put(result)
            sender.flush()
            await writer.drain()


class _ResultSender:
    """Sends results to the parent, several at once."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._results: list[Any] = []

    def put(self, result: Any) -> None:
        """Send a result soon: the next item may take long."""
        if not self._results:
            asyncio.get_running_loop().call_later(_DELAY_S, self.flush)
        self._results.append(result)

    def flush(self) -> None:
        """Send all results now."""
        if self._results:
            self._writer.write(encode_frame(self._results))
            self._results = []


async def _receive(reader: asyncio.StreamReader, batches: asyncio.Queue[Any]) -> None:
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            batches.put_nowait(await read_frame(reader))
    # At once, whatever runs: nobody reads its result. Processes of the sandbox end with this one.
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(serve(socket.socket(fileno=int(sys.argv[1]))))
