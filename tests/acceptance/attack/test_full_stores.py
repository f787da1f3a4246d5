"""Attacks by the machine on a fleet: a database and an outbox that cannot be written for a while.
Each test says what is tried."""

from __future__ import annotations

import asyncio
import json
import os
from collections import deque
from pathlib import Path
from typing import Any

import pytest

from tests.support.event_names import EventNames
from tests.support.helpers import job, workflow
from worker.fleet.client import Client
from worker.fleet.control import service
from worker.fleet.control.message_processor import MessageProcessor
from worker.fleet.control.service import ControlPlane
from worker.fleet.control.store.store import Store
from worker.fleet.local_fleet import local_fleet
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.in_memory import LocalBroker
from worker.fleet.messaging.topics import Topics
from worker.fleet.messaging.worker_protocol import Lease
from worker.fleet.worker import outbox as outboxes
from worker.fleet.worker.outbox import Outbox
from worker.util.private_files import open_private
from worker.workflow.save import to_execution_plan

PLAN = to_execution_plan(workflow(job("fn((state) => state);")))
LEASE = Lease(run_id="r", attempt=1, token="token-token")


async def until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def limit_pages(control: ControlPlane, store: Store, pages: int) -> None:
    """Let a database in memory grow to so many pages: SQLite reports a full disk beyond them."""

    def limit() -> None:
        with store._engine.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    # A database in memory has one connection, which the plane's thread may be using.
    await asyncio.get_running_loop().run_in_executor(control._thread, limit)


@pytest.mark.slow
async def test_the_database_is_full_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries to end the control plane, or to have it lose what it cannot store."""
    monkeypatch.setattr(service, "MAX_STORE_PAUSE_S", 0.05)
    store, broker, topics, log = Store("sqlite://"), LocalBroker(), Topics(), EventNames()
    store.migrate()
    processor = MessageProcessor(store, topics=topics)
    control = ControlPlane(broker.bus(*topics.for_control()), processor, topics=topics, log=log)
    running = asyncio.create_task(control.run())
    async with Client(broker.bus(), topics) as client:
        await client.submit(plan=PLAN)
        assert control.problem == ""
        await limit_pages(control, store, 1)
        large = {"data": "x" * 100_000}
        waiting = asyncio.create_task(client.submit(plan=PLAN, input=large))
        await until(lambda: control.store_outage)
        assert "full" in control.problem and not waiting.done() and not running.done()
        await limit_pages(control, store, 1_000_000)
        order = await waiting
        assert (await client.run(order["last_run"]))["status"] == "pending"
        assert control.problem == ""
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    store.close()
    assert [event for event in log.names if event.startswith("store.")] == [
        "store.unavailable",
        "store.available",
    ]
    assert "message.refused" not in log.names


class FullFile:
    """A file on a disk with room for some bytes more, which takes the part of a line that fits."""

    def __init__(self, file: Any, room_bytes: int) -> None:
        self._file, self._room_bytes = file, room_bytes

    def write(self, data: bytes) -> int:
        part = data[: self._room_bytes]
        if not part:
            raise OSError(28, os.strerror(28))
        self._room_bytes -= len(part)
        return int(self._file.write(part))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.mark.slow
@pytest.mark.parametrize("room_bytes", [0, 10, 200, 500])
async def test_the_outbox_is_full(room_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries to keep a run from being executed, and its end from being reported."""
    opened, full = open_private, list[Path]()

    def open_on_full_disk(path: Path, buffering: int = -1) -> Any:
        file = opened(path, buffering)
        if path.suffix != ".jsonl":
            return file
        full.append(path)
        return FullFile(file, room_bytes)

    monkeypatch.setattr(outboxes, "open_private", open_on_full_disk)
    async with local_fleet() as client:
        order = await client.submit(plan=PLAN)
        assert (await client.wait(order["last_run"]))["status"] == "success"
    assert len(full) == 1


def test_what_a_full_outbox_holds_is_a_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tries to have half a line read as an event, or a later one after a gap."""
    head = len(wire.encode(LEASE)) + 1
    events = [json.dumps({"seq": seq}).encode() for seq in range(3)]
    full = FullFile((tmp_path / "r.1.jsonl").open("wb", buffering=0), head + len(events[0]) + 5)
    monkeypatch.setattr(outboxes, "open_private", lambda *_, **__: full)
    box = outboxes.RunOutbox(tmp_path / "r.1.jsonl", LEASE, deque())
    for event in events:
        box.add(event, last=False)
        box.flush()
    assert box.write_error == os.strerror(28)
    assert box.take(1000) == events
    box.close()
    monkeypatch.undo()
    outbox = Outbox(tmp_path)
    recovered = list(outbox.recover())
    assert not outbox.unreadable
    assert len(recovered) == 1
    assert recovered[0].take(1000) == events[:1]
    assert not recovered[0].unreadable
    recovered[0].close()
    outbox.close()
