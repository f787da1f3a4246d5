"""Clients that follow runs: each reader has all messages, and what has ended leaves nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from worker.core.status import Status
from worker.fleet.client import Client
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.in_memory import LocalBroker
from worker.fleet.messaging.state_messages import RunEvents, RunState
from worker.fleet.messaging.topics import Topics
from worker.fleet.notifications import Subscribers

TOPICS = Topics()


class EndedRuns(Client):
    """A client whose runs have ended with one event."""

    async def run(self, id: str) -> Any:
        return {"run_id": id, "status": "success"}

    async def each_event(self, run_id: str, **query: Any) -> AsyncIterator[dict[str, Any]]:
        yield {"seq": 0, "run_id": run_id}


async def test_a_run_that_was_followed_leaves_no_subscription() -> None:
    bus = LocalBroker().bus()
    async with EndedRuns(bus) as client:
        before = list(bus.filters)
        for number in range(3):
            assert (await client.wait(f"r-{number}"))["status"] == "success"
        events = client.follow("r-3")
        assert await anext(events) == {"seq": 0, "run_id": "r-3"}
        assert len(bus.filters) == len(before) + 2
        await events.aclose()  # type: ignore[attr-defined]
        notifications = client.notifications()
        await anext(notifications)
        assert len(bus.filters) == len(before) + len(TOPICS.for_followers())
        await notifications.aclose()  # type: ignore[attr-defined]
        assert bus.filters == before and not client._subscribers._followers


def test_readers_of_one_run_do_not_take_messages_from_each_other() -> None:
    bus = LocalBroker().bus()
    subscribers = Subscribers(bus, TOPICS)
    with subscribers.follower("r") as first:
        with subscribers.follower("r") as second:
            subscribers.receive(events_of("r", 0))
            first.events.clear()
            first.changed.clear()
            assert [event["seq"] for event in second.events] == [0]
            assert second.changed.is_set()
        subscribers.receive(state_of("r", Status.RUNNING))
        assert (first.state, second.state) == (Status.RUNNING, None)
        assert bus.filters == [TOPICS.run("r", "state"), TOPICS.run("r", "events")]
    assert bus.filters == []


@pytest.mark.parametrize(("revision", "status"), [(1, Status.SUCCESS), (3, Status.LOST)])
def test_an_older_state_does_not_replace_a_newer_one(revision: int, status: Status) -> None:
    subscribers = Subscribers(LocalBroker().bus(), TOPICS)
    with subscribers.follower("r") as follower:
        subscribers.receive(state_of("r", Status.SUCCESS, revision=2))
        subscribers.receive(state_of("r", Status.LOST, revision=revision))
        assert follower.state is status


def events_of(run_id: str, *seqs: int) -> Message:
    events = [msgspec.Raw(msgspec.json.encode({"seq": seq})) for seq in seqs]
    payload = wire.encode(RunEvents(run_id=run_id, attempt=1, events=events))
    return Message(topic=TOPICS.run(run_id, "events"), payload=payload)


def state_of(run_id: str, status: Status, *, revision: int = 1) -> Message:
    state = RunState(
        run_id=run_id, order_id="o", number=1, attempt=1, priority=0, created=1, project="p",
        workflow="w", status=status.value, revision=revision,
    )  # fmt: skip
    return Message(topic=TOPICS.run(run_id, "state"), payload=wire.encode(state))
