"""Each recorded version and this one understand each other: worker, control plane and client."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.support.conversation_file import Part, Recording, read
from tests.support.conversation_player import Player, connection, subscribe
from tests.support.conversation_script import (
    STATUSES,
    converse,
    start_plane,
    start_worker_part,
    write_files,
)
from tests.support.fleets import Listener, needs_mosquitto
from worker.fleet.messaging.broker import Broker

RECORDINGS = sorted((Path(__file__).parents[1] / "data" / "conversations").glob("*.jsonl.gz"))
pytestmark = [pytest.mark.slow, needs_mosquitto]


@pytest.fixture(params=RECORDINGS, ids=lambda path: path.name.removesuffix(".jsonl.gz"))
def recording(request: pytest.FixtureRequest) -> Recording:
    return read(request.param)


async def play(
    recording: Recording,
    live: Part,
    url: str,
    does: Callable[[Listener], Coroutine[Any, Any, None]],
) -> tuple[Player, list[dict[str, Any]]]:
    """Play to a live part, and return the player and the states that were published."""
    async with Listener(url) as listener, connection(url) as client:
        await subscribe(client)
        player = Player(recording, live, client)
        await player.play(does(listener))
        return player, listener.messages("/state")


async def nothing(listener: Listener) -> None:
    """The part needs no input but messages."""


def summary(events: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    fields = ("type", "seq", "job_id", "reason", "error_type", "message")
    return [tuple(event.get(field) for field in fields) for event in events]


async def test_the_control_plane_serves_a_recorded_worker_and_its_clients(
    recording: Recording, tmp_path: Path
) -> None:
    with Broker(kind="mosquitto") as broker:
        plane = start_plane(tmp_path, broker.url)
        try:
            _, states = await play(recording, "plane", broker.url, nothing)
        finally:
            plane.kill()
    # The last of each workflow: that of its run, and that of its order.
    assert {state["workflow"]: state["status"] for state in states} == STATUSES


async def test_a_worker_serves_a_recorded_control_plane(
    recording: Recording, tmp_path: Path
) -> None:
    with Broker(kind="mosquitto") as broker:
        worker = start_worker_part(tmp_path, broker.url)
        try:
            player, _ = await play(recording, "worker", broker.url, nothing)
        finally:
            worker.kill()
    runs = player.recorded_reports.events
    assert len(runs) == len(STATUSES)
    for run, events in runs.items():
        assert summary(player.reports.of(run)) == summary(events)


async def test_clients_are_served_by_a_recorded_control_plane(
    recording: Recording, tmp_path: Path
) -> None:
    write_files(tmp_path)
    with Broker(kind="mosquitto") as broker:
        await play(
            recording, "client", broker.url,
            lambda listener: converse(tmp_path, broker.url, listener),
        )  # fmt: skip


def test_the_first_version_that_can_be_mixed_is_recorded() -> None:
    assert RECORDINGS[0].name == "0.1.0.jsonl.gz"
