"""Under load states that are not final wait for the next tick, and newer ones replace them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from tests.support.control_plane_harness import TOPICS, ControlPlaneHarness
from tests.support.dashboard_fleet import DiscardingLog
from worker.fleet.control import service
from worker.fleet.control.held_states import HeldStates
from worker.fleet.control.service import ControlPlane
from worker.fleet.control.unit_of_work import Outgoing, Settings
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.in_memory import LocalBroker

PENDING = Message(topic="a", payload=b"pending", retain=True, provisional=True)
RUNNING = replace(PENDING, payload=b"running")
ENDED = replace(PENDING, payload=b"ended", provisional=False)
OTHER = replace(PENDING, topic="b")
EVENT = Message(topic="a", payload=b"event")


def test_a_newer_state_replaces_one_that_is_held() -> None:
    states = HeldStates(free=0)
    assert states.hold([PENDING, OTHER, EVENT]) == [EVENT]
    assert states.hold([RUNNING]) == []
    assert states.release() == [RUNNING, OTHER]
    assert states.release() == []


def test_a_final_state_leaves_at_once_and_nothing_older_follows_it() -> None:
    states = HeldStates(free=0)
    assert states.hold([PENDING, RUNNING, ENDED, EVENT]) == [ENDED, EVENT]
    states.hold([RUNNING])
    cleared = Message(topic="a", payload=b"", retain=True)
    assert states.hold([cleared]) == [cleared]
    assert states.release() == []


def test_the_first_states_of_a_tick_are_published_at_once() -> None:
    states = HeldStates(free=2)
    assert states.hold([PENDING, RUNNING]) == [PENDING, RUNNING]
    assert states.hold([PENDING]) == []
    assert states.release() == [PENDING]


def test_fewer_states_are_published_at_once_after_a_tick_in_which_some_were_held() -> None:
    states = HeldStates(free=2)
    states.hold([PENDING, RUNNING, PENDING])
    states.release()
    assert states.hold([PENDING, RUNNING]) == [PENDING]
    assert states.release() == [RUNNING]
    assert states.release() == []
    assert states.hold([PENDING, RUNNING]) == [PENDING, RUNNING]


def test_states_beyond_the_room_are_not_held() -> None:
    states = HeldStates(free=0, max_held=1)
    assert states.hold([PENDING, OTHER, RUNNING]) == [OTHER]
    assert states.release() == [RUNNING]


def test_several_control_planes_hold_no_states(harness: ControlPlaneHarness) -> None:
    def provisional() -> list[bool]:
        harness.processor.publish_all_again()
        outgoing = harness.processor.next_states(harness.now)
        return [message.provisional for message in outgoing.messages]

    harness.submit("waits")
    assert provisional() == [True, True]
    harness.restart(settings=Settings(shared=True))
    assert provisional() == [False, False]
    harness.restart(settings=Settings())
    harness.call("cancel", id="waits")
    assert provisional() == [False, False], "final states are not replaced"


async def test_a_control_plane_that_ends_publishes_what_it_holds(
    harness: ControlPlaneHarness, monkeypatch: Any
) -> None:
    monkeypatch.setattr(service, "TICK_S", 3600.0)
    broker = LocalBroker()
    log: Any = DiscardingLog()
    bus = broker.bus(*TOPICS.for_control())
    plane = ControlPlane(bus, harness.processor, topics=TOPICS, log=log)
    held, states = asyncio.Event(), [replace(PENDING, topic=str(n)) for n in range(26)]

    async def publish() -> None:
        await plane.connected.wait()
        await plane._on_thread(lambda: None)
        plane.publication.publish(Outgoing(messages=states))
        held.set()
        await asyncio.Event().wait()

    plane.add_service(publish)
    task = asyncio.create_task(plane.run())
    await held.wait()
    assert broker.retained_on(["24"]) and not broker.retained_on(["25"])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert broker.retained_on(["25"])
