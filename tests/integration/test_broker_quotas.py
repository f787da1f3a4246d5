"""A broker that refuses messages for a quota or an access list: repeated, and reported."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from paho.mqtt.client import MQTTMessage

from tests.support.scripted_broker import (
    NOT_AUTHORIZED,
    QUOTA_EXCEEDED,
    SUCCESS,
    ScriptedBroker,
)
from worker.cli.control_process import control_metrics
from worker.fleet.control.message_processor import MessageProcessor
from worker.fleet.control.policy import Policy
from worker.fleet.control.service import ControlPlane
from worker.fleet.control.store.store import Store
from worker.fleet.control.triggers.reply_service import ReplyService
from worker.fleet.control.triggers.results import DueReply
from worker.fleet.control.triggers.signals import Signal
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.messaging.address import parse_address
from worker.fleet.messaging.bus import (
    AccessDenied,
    Arrival,
    BrokerRefusal,
    Connected,
    Message,
    MessagesRefused,
    QuotaExceeded,
)
from worker.fleet.messaging.mqtt import MqttBus
from worker.fleet.messaging.state_messages import Alert
from worker.fleet.messaging.topics import Topics
from worker.sinks.log import stderr_logger

Reason = Callable[[MQTTMessage], int]
TOPICS = Topics()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("mqtt", "message_sender"):
        monkeypatch.setattr(f"worker.fleet.messaging.{module}.backoff_s", lambda failures: 0.0)


@asynccontextmanager
async def connected(reason: Reason) -> AsyncIterator[tuple[ScriptedBroker, MqttBus]]:
    async with ScriptedBroker(reason) as broker, MqttBus(parse_address(broker.url)) as bus:
        await arrival_of(bus, Connected)
        yield broker, bus


async def arrival_of(bus: MqttBus, kind: type[Arrival]) -> Arrival:
    async with asyncio.timeout(60):
        while True:
            for arrival in await bus.receive():
                if isinstance(arrival, kind):
                    return arrival


def state(number: int, topic: str = "runs/r/state") -> Message:
    return Message(topic=topic, payload=b"%d" % number, retain=True)


async def test_a_state_that_a_quota_refuses_is_sent_until_it_is_taken() -> None:
    reasons = iter([QUOTA_EXCEEDED] * 3)
    async with connected(lambda message: next(reasons, SUCCESS)) as (broker, bus):
        bus.publish(state(1))
        await broker.until(lambda received: received[-1:] == [("runs/r/state", b"1", SUCCESS)])
        assert len(broker.received) == 4
        refused = await arrival_of(bus, MessagesRefused)
    assert refused == MessagesRefused(
        "the broker refuses messages on runs/r/state: Quota exceeded", 1
    )


async def test_an_older_state_does_not_follow_a_newer_one() -> None:
    reasons = {b"1": QUOTA_EXCEEDED, b"2": SUCCESS}
    async with connected(lambda message: reasons.get(bytes(message.payload), SUCCESS)) as (
        broker,
        bus,
    ):
        bus.publish(state(1))
        await broker.until(lambda received: b"1" in {payload for _, payload, _ in received})
        bus.publish(state(2))
        await broker.until(lambda received: ("runs/r/state", b"2", SUCCESS) in received)
        reasons[b"1"] = SUCCESS
        # Each of them waits for those before it.
        for number in range(3, 30):
            await bus.confirm(state(number, "other"))
    assert ("runs/r/state", b"1", SUCCESS) not in broker.received


async def test_a_state_that_an_access_list_denies_is_sent_once_and_reported() -> None:
    async with connected(lambda message: NOT_AUTHORIZED) as (broker, bus):
        bus.publish(state(1))
        refused = await arrival_of(bus, MessagesRefused)
        assert isinstance(refused, MessagesRefused) and refused.reason.endswith("Not authorized")
        with pytest.raises(AccessDenied):
            await bus.confirm(Message(topic="end", payload=b""))
    assert [topic for topic, _, _ in broker.received] == ["runs/r/state", "end"]


async def test_who_waits_for_a_message_gets_the_kind_of_its_refusal() -> None:
    async with connected(lambda message: QUOTA_EXCEEDED) as (_, bus):
        with pytest.raises(QuotaExceeded, match="on a: Quota exceeded"):
            await bus.confirm(Message(topic="a", payload=b""))


@asynccontextmanager
async def control_plane(url: str) -> AsyncIterator[ControlPlane]:
    store = Store("sqlite://")
    store.migrate()
    processor = MessageProcessor(
        store, topics=TOPICS, policy=Policy(allows_everything=True), settings=Settings()
    )
    bus = MqttBus(parse_address(url), *TOPICS.for_control())
    plane = ControlPlane(bus, processor, topics=TOPICS, log=stderr_logger(logging.WARNING))
    task = asyncio.create_task(plane.run())
    async with asyncio.timeout(60):
        yield plane
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    store.close()


async def test_a_control_plane_whose_states_are_refused_is_unhealthy(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with (
        ScriptedBroker(lambda message: NOT_AUTHORIZED) as broker,
        control_plane(broker.url) as plane,
    ):
        while not plane.broker_refusals:
            await asyncio.sleep(0)
        assert plane.problem.endswith(
            "refuses messages on worker/v1/control/status: Not authorized"
        )
        (metric,) = [each for each in control_metrics(plane) if each.name == "broker_refusals"]
        assert metric.values == {"": 1}  # type: ignore[union-attr]
    assert "broker.refused" in capsys.readouterr().err


async def test_a_control_plane_whose_alerts_are_denied_is_unhealthy() -> None:
    def reason(message: MQTTMessage) -> int:
        return NOT_AUTHORIZED if message.topic == TOPICS.alerts else SUCCESS

    alert = Alert(
        run_id="r", order_id="o", project="p", workflow="w", status="lost", at=1
    )  # fmt: skip
    async with ScriptedBroker(reason) as broker, control_plane(broker.url) as plane:
        await plane.connected.wait()
        assert not plane.problem
        with pytest.raises(AccessDenied):
            await plane._publish_alert(alert)
        assert "alerts: Not authorized" in plane.problem and plane.broker_refusals == 1


class Host:
    """Replies that are due, and a broker that refuses them as the test says."""

    def __init__(self, *refusals: Exception | None) -> None:
        self.order_ended, self.triggers_changed = Signal(), Signal()
        self._refusals = iter(refusals)
        self.due = [
            DueReply(order_id=name, topic=name, content=b"", correlation=b"") for name in "ab"
        ]
        self.marked: list[str] = []

    async def expects_replies(self) -> bool:
        return True

    async def holds_topic_lock(self) -> bool:
        return True

    async def due_replies(self) -> list[DueReply]:
        return [reply for reply in self.due if reply.order_id not in self.marked]

    async def mark_replied(self, order_ids: Any) -> None:
        self.marked += order_ids

    async def confirm(self, message: Message) -> None:
        if (refusal := next(self._refusals, None)) is not None:
            raise refusal


@pytest.mark.parametrize(
    ("refusal", "marked"),
    [(QuotaExceeded("quota"), []), (AccessDenied("denied"), ["a", "b"]), (BrokerRefusal("too large"), ["a", "b"])],
)  # fmt: skip
async def test_a_reply_is_repeated_where_a_quota_refuses_it_and_else_dropped(
    refusal: Exception, marked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.fleet.control.triggers.reply_service.MIN_PAUSE_S", 0.0)
    host = Host(refusal)
    service = ReplyService(host, stderr_logger(logging.CRITICAL))
    await service._send(await host.due_replies())
    assert host.marked == marked
    while replies := await host.due_replies():
        await service._send(replies)
    assert host.marked == ["a", "b"]


async def test_replies_before_a_delayed_one_are_marked_before_the_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = Host(None, QuotaExceeded("quota"))
    service = ReplyService(host, stderr_logger(logging.CRITICAL))
    marked_before: list[str] = []

    async def pause() -> None:
        marked_before.extend(host.marked)

    monkeypatch.setattr(service, "_pause", pause)
    assert not await service._send(host.due)
    assert marked_before == ["a"]
