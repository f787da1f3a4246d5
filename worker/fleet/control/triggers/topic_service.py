"""The service that makes orders of messages on topics.

One control plane of a store receives them, the one that holds its lock: each message is then
processed once, and acknowledged after the commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from worker.fleet.control.store.deployments import LiveTrigger
from worker.fleet.control.triggers.dead_letters import DeadLetter
from worker.fleet.control.triggers.filters import FilterEvaluators
from worker.fleet.control.triggers.firing import Fired, Firing
from worker.fleet.control.triggers.signals import Signal
from worker.fleet.control.triggers.topic_orders import dead_letter, order_for
from worker.fleet.control.triggers.validation import covers
from worker.fleet.messaging.topic_source import Subscription, TopicMessage, TopicSource
from worker.fleet.messaging.trigger_messages import MqttTrigger
from worker.sinks.log import LeveledLogger

REFRESH_S = 1.0
RECEIVE_S = 0.25
Item = Firing | DeadLetter


class TriggerHost(Protocol):
    """The part of a control plane that services of triggers use."""

    triggers_changed: Signal

    async def fire(self, items: Sequence[Item]) -> list[Fired]: ...

    async def live_triggers(self, *kinds: str) -> list[LiveTrigger]: ...

    async def past_topics(self) -> set[str]: ...

    async def holds_topic_lock(self) -> bool: ...


class TopicService:
    """The service for topic triggers; ``connect`` makes a source of messages."""

    def __init__(
        self, host: TriggerHost, connect: Callable[[], TopicSource], log: LeveledLogger
    ) -> None:
        self._host = host
        self._changed = host.triggers_changed.listen()
        self._connect = connect
        self._log = log
        self._filters = FilterEvaluators()
        self._triggers: list[LiveTrigger] = []
        self._refreshed_at = 0.0

    async def run(self) -> None:
        """Receive messages until cancelled, while this control plane holds the lock."""
        try:
            while True:
                if await self._host.holds_topic_lock() and await self._is_needed():
                    await self._serve()
                await asyncio.sleep(REFRESH_S)
        finally:
            self._filters.close()

    async def _is_needed(self) -> bool:
        # A session of earlier triggers has to end, or the broker queues their messages for ever.
        self._triggers = await self._host.live_triggers("mqtt")
        return bool(self._triggers) or bool(await self._host.past_topics())

    async def _serve(self) -> None:
        async with self._connect() as source:
            self._refreshed_at = 0.0
            while await self._refresh(source):
                messages = await source.receive(RECEIVE_S)
                if messages:
                    await self._handle(messages)
                    source.acknowledge(messages)

    async def _refresh(self, source: TopicSource) -> bool:
        """Follow the triggers that are live. Return False where the lock is another's now."""
        now = asyncio.get_running_loop().time()
        if now - self._refreshed_at < REFRESH_S and not self._changed.is_set():
            return True
        self._changed.clear()
        self._refreshed_at = now
        if not await self._host.holds_topic_lock():
            return False
        self._triggers = await self._host.live_triggers("mqtt")
        source.subscribe(subscriptions(self._triggers), await self._host.past_topics())
        return True

    async def _handle(self, messages: Sequence[TopicMessage]) -> None:
        """Make the orders of messages; return after the commit."""
        matched = [
            (trigger, message, item)
            for message in messages
            for trigger in self._triggers
            if covers(_topic_of(trigger), message.topic)
            and (item := order_for(trigger, message)) is not None
        ]
        await self._host.fire(await self._filtered(matched))

    async def _filtered(
        self, matched: Sequence[tuple[LiveTrigger, TopicMessage, Item]]
    ) -> list[Item]:
        filtered: list[Item] = []
        pending: list[tuple[LiveTrigger, TopicMessage, Firing]] = []
        for trigger, message, item in matched:
            if isinstance(item, Firing) and _filter_of(trigger):
                pending.append((trigger, message, item))
            else:
                filtered.append(item)
        if pending:
            filtered += await asyncio.to_thread(self._evaluate, pending)
        return filtered

    def _evaluate(self, pending: Sequence[tuple[LiveTrigger, TopicMessage, Firing]]) -> list[Item]:
        items: list[Item] = []
        for trigger, message, firing in pending:
            (result,) = self._filters.evaluate(trigger, [firing.input.decode()])
            if result.error:
                items.append(dead_letter(trigger, message, "filter_failed", result.error))
            elif result.passes:
                items.append(firing)
        return items


def subscriptions(triggers: Sequence[LiveTrigger]) -> dict[str, Subscription]:
    """Return the subscriptions for triggers; several can have the same topic."""
    wanted: dict[str, Subscription] = {}
    for trigger in triggers:
        definition = trigger.definition
        assert isinstance(definition, MqttTrigger)
        before = wanted.get(definition.topic, Subscription(qos=0))
        wanted[definition.topic] = Subscription(
            qos=max(before.qos, definition.qos),
            retained=before.retained or definition.retained == "accept",
        )
    return wanted


def _topic_of(trigger: LiveTrigger) -> str:
    assert isinstance(trigger.definition, MqttTrigger)
    return trigger.definition.topic


def _filter_of(trigger: LiveTrigger) -> str:
    assert isinstance(trigger.definition, MqttTrigger)
    return trigger.definition.filter
