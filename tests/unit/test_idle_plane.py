"""A control plane with little to do does not load its database."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.control_plane_harness import TOPICS, ControlPlaneHarness, FakeWorker, plan
from tests.support.dashboard_fleet import DiscardingLog
from worker.fleet.control.policy import Policy
from worker.fleet.control.service import ControlPlane
from worker.fleet.control.store import statements
from worker.fleet.control.store.prepared import Prepared
from worker.fleet.control.store.store import Store
from worker.fleet.control.triggers.reply_service import ReplyService
from worker.fleet.control.triggers.results import DueReply, expects_replies
from worker.fleet.control.triggers.signals import Signal
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.in_memory import LocalBroker

LOG: Any = DiscardingLog()


async def test_echoes_of_others_neither_part_a_batch_nor_make_a_tick(
    harness: ControlPlaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = ControlPlane(LocalBroker().bus(), harness.processor, topics=TOPICS, log=LOG, id="p")
    batches, plane._next_tick = list[int](), 1e9

    async def count(messages: Sequence[Message]) -> None:
        batches.append(len(messages))

    monkeypatch.setattr(plane, "_process", count)
    beat = Message(topic=TOPICS.worker("w", "beat"), payload=b"{}")
    echo = Message(topic=TOPICS.echo("p"), payload=b'{"token":"x","sent_us":1}')
    await plane._handle_arrivals([beat, echo] * 3)
    assert (batches, plane._next_tick) == ([3], 1e9)


@pytest.mark.parametrize("surveys", [True, False])
async def test_the_queue_is_counted_for_metrics_alone(
    harness: ControlPlaneHarness, monkeypatch: pytest.MonkeyPatch, surveys: bool
) -> None:
    calls, done = list[str](), asyncio.Event()
    loop, tick, survey = (
        asyncio.get_running_loop(),
        harness.processor.tick,
        harness.processor.survey,
    )

    def count_tick(now_us: int, echoed_us: int) -> Any:
        calls.append("tick")
        if calls.count("tick") == 2:
            loop.call_soon_threadsafe(done.set)
        return tick(now_us, echoed_us)

    def count_survey(now_us: int) -> Any:
        calls.append("survey")
        return survey(now_us)

    monkeypatch.setattr(harness.processor, "tick", count_tick)
    monkeypatch.setattr(harness.processor, "survey", count_survey)
    bus = LocalBroker().bus(*TOPICS.for_control())
    plane = ControlPlane(bus, harness.processor, topics=TOPICS, log=LOG, surveys=surveys)
    task = asyncio.create_task(plane.run())
    async with asyncio.timeout(30):
        await done.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert ("survey" in calls) is surveys


class Host:
    """A control plane that counts the queries of its reply service."""

    def __init__(self) -> None:
        self.order_ended, self.triggers_changed = Signal(), Signal()
        self.expects = False
        self.calls: asyncio.Queue[str] = asyncio.Queue()
        self.due: list[DueReply] = []

    async def expects_replies(self) -> bool:
        self.calls.put_nowait("expects")
        return self.expects

    async def holds_topic_lock(self) -> bool:
        return True

    async def due_replies(self) -> list[DueReply]:
        self.calls.put_nowait("due")
        return self.due

    async def mark_replied(self, order_ids: Sequence[str]) -> None:
        self.due = []

    async def confirm(self, message: Message) -> None:
        self.calls.put_nowait(message.topic)

    async def next(self) -> str:
        async with asyncio.timeout(30):
            return await self.calls.get()


async def test_the_end_of_an_order_wakes_no_service_without_a_reply() -> None:
    host = Host()
    task = asyncio.create_task(ReplyService(host, LOG).run())
    assert await host.next() == "expects"
    for _ in range(3):
        host.order_ended.send()
        for _ in range(5):
            await asyncio.sleep(0)
    assert host.calls.empty()
    host.expects = True
    host.due = [DueReply(order_id="o", topic="answers", correlation=b"", content=b"{}")]
    host.triggers_changed.send()
    assert [await host.next() for _ in range(3)] == ["expects", "due", "answers"]
    assert [await host.next() for _ in range(2)] == ["expects", "due"]
    host.order_ended.send()
    assert await host.next() == "expects"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_replies_are_expected_of_live_triggers_that_wait_for_the_end(store: Store) -> None:
    harness = ControlPlaneHarness(store, policy=Policy(allows_everything=True))
    topic = {"type": "mqtt", "name": "t", "start": "a", "topic": "a", "reply_topic": "b"}
    for fields, expected in (
        ({}, False),
        ({"reply": "accepted"}, False),
        ({"reply": "after_completion"}, True),
        ({"reply": "after_completion", "enabled": False}, False),
    ):
        version = {"plan": plan(), "triggers": [{**topic, **fields}]}
        version["plan"]["workflow"]["name"] = "replying"  # type: ignore[index]
        harness.call("deploy", workflows=[version])
        assert harness.processor.read(expects_replies) is expected, fields


def test_the_claims_of_a_batch_are_locked_in_one_statement(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    if store.dialect != "postgresql":
        pytest.skip("SQLite has one control plane")
    harness = ControlPlaneHarness(store, settings=Settings(shared=True))
    workers = [FakeWorker(harness, f"w{number}", f"i{number}") for number in range(5)]
    for worker in workers:
        assert worker.claim() == []
    executed: list[Prepared] = []
    rows = Prepared.rows

    def note(statement: Prepared, *arguments: Any) -> Any:
        executed.append(statement)
        return rows(statement, *arguments)

    monkeypatch.setattr(Prepared, "rows", note)
    harness.submit("o")
    assert executed.count(statements.LOCK_CLAIMS) == 1
    assert harness.run()["worker"] in {worker.name for worker in workers}
    with store.transaction() as first, store.transaction() as second:
        assert first.lock_claims(["c", "a", "b"]) == ["a", "b", "c"]
        assert second.lock_claims(["b", "d"]) == ["d"]
        assert second.lock_claims([]) == []
