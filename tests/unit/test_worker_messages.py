"""Messages to a fleet worker that it cannot act upon: it logs them, and goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.control_plane_harness import TOPICS
from tests.support.event_names import EventNames
from worker.errors import MachineError
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.in_memory import LocalBroker
from worker.fleet.messaging.worker_protocol import Command
from worker.fleet.worker.fleet_worker import FleetWorker
from worker.fleet.worker.outbox import Outbox
from worker.util import invariant_checks


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    made = Outbox(tmp_path / "outbox")
    yield made
    made.close()


def worker(outbox: Outbox, log: EventNames, **options: Any) -> FleetWorker:
    executor: Any = None
    bus = LocalBroker().bus(*TOPICS.for_worker("w"))
    return FleetWorker(
        bus, executor, outbox, name="w", capacity=1, topics=TOPICS, log=log, id="1", **options
    )


def command(payload: bytes) -> Message:
    return Message(topic=TOPICS.worker("w", "cmd"), payload=payload)


@pytest.mark.parametrize("error", [MachineError("the object store is away"), OSError("full")])
def test_recordings_that_cannot_be_erased_end_no_worker(outbox: Outbox, error: Exception) -> None:
    asked: list[str] = []

    def erase(run_id: str) -> int:
        asked.append(run_id)
        raise error

    log = EventNames()
    made = worker(outbox, log, erase_recordings=erase)
    made._on_arrival(command(wire.encode(Command(erase=["r-1", "r-2"]))))
    assert asked == ["r-1", "r-2"] and log.names == ["run.not_erased"] * 2


def test_an_outbox_that_cannot_be_erased_keeps_no_recording(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Outbox, run_id: str) -> int:
        raise OSError("the disk is read-only")

    monkeypatch.setattr(Outbox, "erase", refuse)
    log = EventNames()
    made = worker(outbox, log, erase_recordings=lambda run_id: 1)
    made._on_arrival(command(wire.encode(Command(erase=["r-1"]))))
    assert log.names == ["run.not_erased", "run.erased"]


def test_a_malformed_message_of_another_participant_breaks_no_invariant(outbox: Outbox) -> None:
    before, log = invariant_checks.broken.copy(), EventNames()
    worker(outbox, log)._on_arrival(command(b'{"erase":3}'))
    assert log.names == ["message.refused"] and invariant_checks.broken == before
