"""The conversation that is recorded once per version, and held by each later one with it.

The parts are processes of the command ``worker``, of any version: orders that succeed, fail and are
cancelled, and one whose input and output are larger than a message.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

from tests.support.command import WORKER
from tests.support.fleets import FleetProcess, Listener

PACKET_LIMIT = ("--packet-limit", "128kB")
STATUSES = {"works": "success", "fails": "failed", "hangs": "cancelled", "large": "success"}
"""The workflows, and the statuses of their runs."""
_BODIES = {
    "works": "fn(state => { console.log('seen'); return {...state, seen: 1}; })",
    "fails": "fn(state => { throw new Error('no stock'); })",
    "hangs": "fn(state => new Promise(done => setTimeout(() => done(state), 600000)))",
    "large": "fn(state => state)",
}
LARGE_INPUT = {"data": {"text": "x" * 200_000}}


def write_files(folder: Path) -> None:
    """Write the workflows and the input that the commands name."""
    for name, body in _BODIES.items():
        step = {"id": "a", "name": "A", "adaptor": "common", "expression": body}
        (folder / f"{name}.json").write_text(
            json.dumps({"workflow": {"name": name, "steps": [step]}})
        )
    (folder / "large.input").write_text(json.dumps(LARGE_INPUT))


def start_plane(folder: Path, url: str, program: Sequence[str] = WORKER) -> FleetProcess:
    """Start a control plane that knows no workflows: orders carry their plans."""
    store = f"sqlite:///{folder}/orders.db"
    options = ("--mqtt", url, "--store", store, *PACKET_LIMIT)
    return FleetProcess(folder, "plane", "control-plane", *options, program=program)


def start_worker_part(folder: Path, url: str, program: Sequence[str] = WORKER) -> FleetProcess:
    """Start the worker ``north``, with room for one run."""
    options = ("--name", "north", "--capacity", "1", "--outbox", str(folder / "outbox"))
    return FleetProcess(
        folder, "worker", "start", "--mqtt", url, *options, *PACKET_LIMIT, program=program
    )


async def converse(
    folder: Path, url: str, listener: Listener, program: Sequence[str] = WORKER
) -> None:
    """Submit the orders, one after another, and cancel the one that would not end."""

    async def command(*arguments: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *program, *arguments, "--mqtt", url, "--reply-timeout", "60", *PACKET_LIMIT,
            cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            output, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        # 1: the run did not succeed.
        assert process.returncode in (0, 1), (arguments, output[-500:], errors[-2000:])

    await command("submit", "works.json", "--wait")
    await command("submit", "fails.json", "--wait")
    await command("submit", "hangs.json", "--order-id", "hangs")
    await listener.until("hangs-1/state", lambda state: state["status"] == "running")
    await command("cancel", "hangs")
    await listener.until("hangs-1/state", lambda state: state["status"] == "cancelled")
    # Its id is in the content that is sent in chunks, where a recording does not name ids.
    await command(
        "submit", "large.json", "--order-id", "large", "--input", "large.input", "--wait",
        "-o", "large.output",
    )  # fmt: skip
    assert json.loads((folder / "large.output").read_text()) == LARGE_INPUT
    await command("orders", "list")
