"""Notifications of a fleet: those of a run that is followed, and those of all runs and orders."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from worker.core.status import Status
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import Bus, Message
from worker.fleet.messaging.cloudevents import unwrap
from worker.fleet.messaging.state_messages import Alert, OrderState, RunEvents, RunState
from worker.fleet.messaging.topics import Topics

# Backpressure: a slow reader gets a gap instead of an unbounded queue.
MAX_QUEUED_NOTIFICATIONS = 10_000


@dataclass(frozen=True, slots=True)
class Gap:
    """Notifications may have been lost: known state must be queried again."""


Notification = RunState | OrderState | RunEvents | Alert | Gap


@dataclass(slots=True, eq=False)
class Follower:
    """Notifications of a run for one of its readers."""

    changed: asyncio.Event = field(default_factory=asyncio.Event)
    state: Status | None = None
    revision: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)

    def receive_state(self, state: RunState) -> None:
        # Control planes that share a store publish in no common order.
        if state.revision >= self.revision:
            self.state, self.revision = Status(state.status), state.revision
            self.changed.set()

    def receive_events(self, events: Sequence[msgspec.Raw]) -> None:
        self.events += [msgspec.json.decode(bytes(event)) for event in events]
        self.changed.set()


class NotificationQueue:
    """Bounded queue of notifications; it becomes a gap where it overflows."""

    def __init__(self) -> None:
        self._items: deque[Notification] = deque([Gap()])
        self._available = asyncio.Event()

    def put(self, notification: Notification) -> None:
        if len(self._items) >= MAX_QUEUED_NOTIFICATIONS:
            self._items.clear()
            notification = Gap()
        self._items.append(notification)
        self._available.set()

    async def take(self) -> list[Notification]:
        if not self._items:
            self._available.clear()
            await self._available.wait()
        taken = list(self._items)
        self._items.clear()
        return taken


class Subscribers:
    """The followers of runs and the queues of a client, which messages are passed to.

    Each is subscribed to its topics as long as it is open.
    """

    def __init__(self, bus: Bus, topics: Topics) -> None:
        self._bus = bus
        self._topics = topics
        self._followers: dict[str, list[Follower]] = {}
        self._queues: list[NotificationQueue] = []

    @contextmanager
    def follower(self, run_id: str) -> Iterator[Follower]:
        """Follow a run within the context."""
        follower = Follower()
        self._followers.setdefault(run_id, []).append(follower)
        try:
            with self._subscribed([self._topics.run(run_id, kind) for kind in ("state", "events")]):
                yield follower
        finally:
            self._followers[run_id].remove(follower)
            if not self._followers[run_id]:
                del self._followers[run_id]

    @contextmanager
    def queue(self) -> Iterator[NotificationQueue]:
        """Open a queue of all notifications within the context."""
        queue = NotificationQueue()
        self._queues.append(queue)
        try:
            with self._subscribed(self._topics.for_followers()):
                yield queue
        finally:
            self._queues.remove(queue)

    @contextmanager
    def _subscribed(self, filters: Sequence[str]) -> Iterator[None]:
        for filter in filters:
            self._bus.subscribe(filter)
        try:
            yield
        finally:
            for filter in filters:
                self._bus.unsubscribe(filter)

    def receive(self, message: Message) -> None:
        """Pass on a message. Raises :class:`WireError` for a malformed one."""
        if not message.payload:
            return  # an empty message clears a retained one
        payload = unwrap(message.payload)
        # A retained message is old state, not a change.
        if self._queues and not message.retain:
            kind = self._topics.public_kind(message.topic)
            if kind is not None:
                self.notify(wire.decode(_NOTIFICATIONS[kind], payload))
        self._update_followers(message.topic.split("/"), payload)

    def _update_followers(self, levels: list[str], payload: bytes) -> None:
        followers = self._followers.get(levels[-2])
        if not followers:
            return
        if levels[-1] == "state":
            state = wire.decode(RunState, payload)
            for follower in followers:
                follower.receive_state(state)
        else:
            events = wire.decode(RunEvents, payload).events
            for follower in followers:
                follower.receive_events(events)

    def notify(self, notification: Notification) -> None:
        for queue in self._queues:
            queue.put(notification)


_NOTIFICATIONS: dict[str, Any] = {
    "run": RunState,
    "order": OrderState,
    "events": RunEvents,
    "alert": Alert,
}
