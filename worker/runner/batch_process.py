"""Process that handles batches of items for :mod:`worker.runner.parallel`.

The channel carries frames of pickled objects. The parent sends the work, then batches of items; the
process sends ``None`` when it is ready, then the results one by one.
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
        writer.write(encode_frame(None))
        while not receiving.done():
            async for result in handle(await batches.get()):
                writer.write(encode_frame(result))
                await writer.drain()


async def _receive(reader: asyncio.StreamReader, batches: asyncio.Queue[Any]) -> None:
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            batches.put_nowait(await read_frame(reader))
    # At once, whatever runs: nobody reads its result. Processes of the sandbox end with this one.
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(serve(socket.socket(fileno=int(sys.argv[1]))))
