"""The service that makes orders of messages on topics.

One control plane of a store receives them, the one that holds its lock: each message is then
processed once, and acknowledged after the commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from worker.fleet.control.store.deployments import LiveTrigger
from worker.fleet.control.triggers.dead_letters import DeadLetter
from worker.fleet.control.triggers.filter_lanes import FilteredMessage, FilterLanes
from worker.fleet.control.triggers.firing import Firing
from worker.fleet.control.triggers.order_result import Fired
from worker.fleet.control.triggers.signals import Signal
from worker.fleet.control.triggers.topic_orders import order_for
from worker.fleet.messaging.topic_source import (
    Subscription,
    TopicMessage,
    TopicSource,
    identifier_of,
)
from worker.fleet.messaging.topics import covers
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
        self._triggers: list[LiveTrigger] = []
        self._identifiers: dict[str, int] = {}
        self._refreshed_at = 0.0

    async def run(self) -> None:
        """Receive messages until cancelled, while this control plane holds the lock."""
        while True:
            if await self._host.holds_topic_lock() and await self._is_needed():
                await self._serve()
            await asyncio.sleep(REFRESH_S)

    async def _is_needed(self) -> bool:
        # A session of earlier triggers has to end, or the broker queues their messages for ever.
        self._triggers = await self._host.live_triggers("mqtt")
        return bool(self._triggers) or bool(await self._host.past_topics())

    async def _serve(self) -> None:
        async with self._connect() as source:
            self._refreshed_at = 0.0
            receipts = Receipts(source)
            lanes = FilterLanes(self._host.fire, receipts.finish, self._log)
            try:
                while await self._refresh(source):
                    if await lanes.has_room(RECEIVE_S):
                        messages = await source.receive(RECEIVE_S)
                        await self._handle(messages, receipts, lanes)
                # The session goes to another control plane, which gets again the first message that
                # is not finished, and those behind it: acknowledgements leave in order.
                await lanes.stop()
            finally:
                await lanes.close()

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
        self._identifiers = {
            topic: identifier_of(topic) for topic in map(_topic_of, self._triggers)
        }
        source.subscribe(subscriptions(self._triggers), await self._host.past_topics())
        return True

    async def _handle(
        self, messages: Sequence[TopicMessage], receipts: Receipts, lanes: FilterLanes
    ) -> None:
        """Make the orders of messages, or leave it to the lanes of their filters."""
        items: list[Item] = []
        for message in messages:
            filtered: list[FilteredMessage] = []
            for trigger, item in self._orders_for(message):
                if isinstance(item, Firing) and _filter_of(trigger):
                    filtered.append(FilteredMessage(trigger=trigger, message=message, firing=item))
                else:
                    items.append(item)
            receipts.expect(message, 1 + len(filtered))
            for each in filtered:
                lanes.put(each)
        await self._host.fire(items)
        receipts.finish(*messages)

    def _orders_for(self, message: TopicMessage) -> Iterator[tuple[LiveTrigger, Item]]:
        sent_for = message.subscriptions
        # One of a topic that no trigger has any more is for whatever triggers cover it now.
        if not sent_for <= set(self._identifiers.values()):
            sent_for = frozenset()
        for trigger in self._triggers:
            topic = _topic_of(trigger)
            # Where topics of triggers overlap, each subscription has a message of its own.
            if sent_for and self._identifiers[topic] not in sent_for:
                continue
            if covers(topic, message.topic):
                item = order_for(trigger, message)
                if item is not None:
                    yield trigger, item


class Receipts:
    """The parts of messages that are not committed yet: whole messages are acknowledged."""

    def __init__(self, source: TopicSource) -> None:
        self._source = source
        self._open: dict[int, int] = {}

    def expect(self, message: TopicMessage, parts: int) -> None:
        """Acknowledge a message after so many calls of :meth:`finish`."""
        self._open[id(message)] = parts

    def finish(self, *messages: TopicMessage) -> None:
        """Record that a part of each of some messages is committed."""
        self._source.acknowledge([message for message in messages if self._is_last_part(message)])

    def _is_last_part(self, message: TopicMessage) -> bool:
        parts = self._open.pop(id(message)) - 1
        if parts:
            self._open[id(message)] = parts
        return not parts


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
