"""Parts of a control plane that receives messages of topic triggers, for tests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

import pytest

from tests.support.dashboard_fleet import DiscardingLog
from worker.fleet.control.store.deployments import LiveTrigger
from worker.fleet.control.triggers.filters import FilterEvaluators, FilterResult
from worker.fleet.control.triggers.firing import Firing
from worker.fleet.control.triggers.order_result import Fired
from worker.fleet.control.triggers.signals import Signal
from worker.fleet.control.triggers.topic_service import Item, TopicService
from worker.fleet.messaging.end_tasks import end_tasks
from worker.fleet.messaging.topic_source import Subscription, TopicInbox, TopicMessage
from worker.fleet.messaging.trigger_messages import MqttTrigger


def topic_trigger(name: str, topic: str, filter: str = "") -> LiveTrigger:
    """Return a trigger of a topic, whose id and workflow have the name."""
    definition = MqttTrigger(name="in", start="job", topic=topic, filter=filter)
    return LiveTrigger(id=name, project="p", workflow=name, live=True, definition=definition)


SLOW = topic_trigger("slow", "slow/#", filter="slow")


class Source:
    """Source of messages that a test puts in, which records acknowledgements."""

    def __init__(self) -> None:
        self.inbox = TopicInbox()
        self.acknowledged: list[str] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *reason: object) -> None: ...

    def subscribe(
        self, subscriptions: Mapping[str, Subscription], stale: Iterable[str] = ()
    ) -> None: ...

    async def receive(self, wait_s: float) -> list[TopicMessage]:
        return await self.inbox.take(wait_s)

    def acknowledge(self, messages: Iterable[TopicMessage]) -> None:
        self.acknowledged += [message.topic for message in messages]

    def put(self, topic: str, qos: int = 1, size: int = 1, **fields: Any) -> None:
        payload = b'"%b"' % (b"1" * size)
        self.inbox.put(TopicMessage(topic=topic, payload=payload, qos=qos, **fields))


class Host:
    """Control plane that records the orders it should make."""

    def __init__(self, *triggers: LiveTrigger) -> None:
        self.triggers_changed = Signal()
        self.triggers = list(triggers)
        self.holds_lock = True
        self.made: list[tuple[str, str]] = []
        self.error: Exception | None = None
        self.news = asyncio.Condition()

    async def fire(self, items: Sequence[Item]) -> list[Fired]:
        if self.error is not None and items:
            raise self.error
        for item in items:
            kind = "order" if isinstance(item, Firing) else item.reason
            self.made.append((item.trigger.id, kind))
        async with self.news:
            self.news.notify_all()
        return []

    async def until_made(self, *orders: tuple[str, str]) -> None:
        async with asyncio.timeout(60), self.news:
            await self.news.wait_for(lambda: self.made == list(orders))

    async def live_triggers(self, *kinds: str) -> list[LiveTrigger]:
        return self.triggers

    async def past_topics(self) -> set[str]:
        return set()

    async def holds_topic_lock(self) -> bool:
        return self.holds_lock


class Filters:
    """Filters in this process: the slow one waits until it may go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.began, self.may_go_on = threading.Event(), threading.Event()
        self.evaluated = 0
        monkeypatch.setattr(FilterEvaluators, "evaluate", self.evaluate)

    def evaluate(self, trigger_id: str, expression: str, state: str) -> FilterResult:
        self.evaluated += 1
        if expression == "slow":
            self.began.set()
            self.may_go_on.wait(60)
        return FilterResult(passes=True)


@asynccontextmanager
async def serving(host: Host, source: Any, log: Any = None) -> AsyncIterator[asyncio.Task[None]]:
    service = TopicService(host, lambda: source, log or DiscardingLog())
    task = asyncio.create_task(service.run())
    try:
        yield task
    finally:
        await end_tasks(task)


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)
