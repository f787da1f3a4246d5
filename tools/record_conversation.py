"""Record a conversation of a worker, a control plane and clients of one version, for later ones.

python -m tools.record_conversation FILE [PROGRAM...]

PROGRAM is the command of the version, such as ``.venv-0.2.0/bin/worker``: by default this one's.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from tests.support.command import WORKER
from tests.support.conversation_file import (
    PARTS,
    Part,
    RecordedMessage,
    Recording,
    cleaned,
    recorded,
    write,
)
from tests.support.conversation_script import (
    converse,
    start_plane,
    start_worker_part,
    write_files,
)
from tests.support.fleets import Listener
from tests.support.packet_recorder import PacketRecorder, Receive
from worker.fleet.messaging.broker import Broker


async def record(folder: Path, program: list[str]) -> Recording:
    """Hold the conversation in a folder, and return what its parts published."""
    messages = list[RecordedMessage]()

    def receiver(part: Part) -> Receive:
        return lambda message: messages.append(recorded(part, message))

    write_files(folder)
    with Broker() as broker:
        async with AsyncExitStack() as stack:
            listener = await stack.enter_async_context(Listener(broker.url))
            urls = {
                part: (
                    await stack.enter_async_context(PacketRecorder(broker.port, receiver(part)))
                ).url
                for part in PARTS
            }
            plane = start_plane(folder, urls["plane"], program)
            try:
                await listener.until("control/status", lambda status: bool(status["online"]))
                worker = start_worker_part(folder, urls["worker"], program)
                try:
                    await listener.until("north/claim", lambda claim: claim["demand"] > 0)
                    await converse(folder, urls["client"], listener, program)
                finally:
                    await asyncio.to_thread(worker.stop)
            finally:
                await asyncio.to_thread(plane.stop)
    return cleaned(messages, socket.gethostname())


def main(target: str, *program: str) -> None:
    """Record into a file."""
    with tempfile.TemporaryDirectory() as folder:
        recording = asyncio.run(record(Path(folder), list(program) or WORKER))
    write(recording, Path(target))
    print(f"{target}: version {recording.header.version}, {len(recording.messages)} messages")


if __name__ == "__main__":
    main(*sys.argv[1:])
