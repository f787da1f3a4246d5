"""Sending of messages over the present connection: few in flight, large contents behind others.

Retained messages and confirmed ones are followed until the broker acknowledges them. A retained one
that exceeds a quota is sent again after a pause.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
from dataclasses import dataclass, field

import aiomqtt

from worker.fleet.messaging.bus import (
    BrokerRefusal,
    Congestion,
    Inbox,
    Message,
    MessagesRefused,
    QuotaExceeded,
)
from worker.fleet.messaging.outbound import Confirmation, Outbound
from worker.fleet.messaging.publishing_client import PublishingClient
from worker.fleet.messaging.reconnect_pauses import backoff_s
from worker.util.machine_clock import monotonic_s

# The number of unacknowledged messages with the highest measured throughput.
MAX_IN_FLIGHT = 20
MAX_BULK_IN_FLIGHT = 2
"""The messages of large contents in flight: others wait behind no more than these."""
REFUSALS_NOTED_S = 1.0
"""How often refusals of messages are noted at most: a broker may refuse each of thousands."""
_LOG = logging.getLogger("worker.mqtt")


@dataclass(slots=True)
class _Lane:
    """Messages that wait to be sent, of which no more than ``limit`` are in flight."""

    limit: int
    queue: Outbound = field(default_factory=Outbound)
    in_flight: int = 0

    def settle(self, confirmation: Confirmation | None, failure: Exception | None) -> None:
        """Count a message that is not in flight any more."""
        self.in_flight -= 1
        _settle(confirmation, failure)
        self.queue.task_done()


class MessageSender:
    """The messages that wait to be sent. Congestion and refusals are put into the ``inbox``."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._client: PublishingClient | None = None
        self._usual = _Lane(MAX_IN_FLIGHT)
        self._bulk = _Lane(MAX_BULK_IN_FLIGHT)
        self.dropped = self._dropped_before = 0
        # The newest retained message that waits or is in flight, by topic: one that was refused is
        # not sent again after a newer one.
        self._newest: dict[str, Message] = {}
        self._refusals, self._refusals_noted_at = 0, -math.inf

    @property
    def waiting(self) -> int:
        """The number of messages that are not sent yet."""
        return self._usual.queue.qsize() + self._bulk.queue.qsize()

    def connect(self, client: PublishingClient) -> None:
        """Send over this connection, until :meth:`disconnect`."""
        self._client = client
        client.on_written = self._send_all_waiting

    def disconnect(self) -> None:
        self._client = None

    async def join(self) -> None:
        """Wait until nothing waits and nothing is in flight."""
        await self._usual.queue.join()
        await self._bulk.queue.join()

    def _lane_of(self, message: Message) -> _Lane:
        return self._bulk if message.bulk else self._usual

    def publish(self, message: Message) -> None:
        """Send a message, or drop it while there is no connection."""
        if self._client is not None:
            lane = self._lane_of(message)
            if not lane.queue.offer(message):
                self._note_dropped()
            elif message.retain:
                self._newest[message.topic] = message
            self._send_waiting(lane)

    async def confirm(self, message: Message) -> None:
        """Send a message, and wait until the broker has it.

        Raises ``ConnectionError`` where the connection is missing or breaks, and
        :class:`BrokerRefusal` where the broker does not take it.
        """
        if self._client is None:
            raise ConnectionError("not connected to the broker")
        confirmation: Confirmation = asyncio.get_running_loop().create_future()
        lane = self._lane_of(message)
        lane.queue.put_nowait((message, confirmation))
        self._send_waiting(lane)
        await confirmation

    def _send_all_waiting(self) -> None:
        for lane in (self._usual, self._bulk):
            self._send_waiting(lane)

    def _send_waiting(self, lane: _Lane) -> None:
        """Send messages of a lane while the connection takes them and few are in flight."""
        client = self._client
        if client is None:
            return
        while not lane.queue.empty() and max(lane.in_flight, client.unwritten) < lane.limit:
            self._send(client, lane, *lane.queue.get_nowait())
        self._note_relieved()

    def _send(
        self,
        client: PublishingClient,
        lane: _Lane,
        message: Message,
        confirmation: Confirmation | None,
        failures: int = 0,
    ) -> None:
        lane.in_flight += 1
        failure: Exception | None = None
        try:
            if confirmation is not None:
                settle = functools.partial(self._acknowledged, lane, confirmation)
                return client.publish_acknowledged(message, settle)
            if message.retain:
                settle = functools.partial(self._retained, lane, message, failures)
                return client.publish_acknowledged(message, settle)
            client.publish_unacknowledged(message)
        except (aiomqtt.MqttError, ValueError) as error:
            failure = ConnectionError(str(error))
            _LOG.debug("message.not_sent: %s", error)
        except BrokerRefusal as error:
            failure = error
            if confirmation is None:
                self._note_refused(error)
        self._forget(message)
        lane.settle(confirmation, failure)

    def _acknowledged(
        self, lane: _Lane, confirmation: Confirmation | None, failure: Exception | None
    ) -> None:
        lane.settle(confirmation, failure)
        self._send_waiting(lane)

    def _retained(
        self, lane: _Lane, message: Message, failures: int, failure: Exception | None
    ) -> None:
        """Settle a message that is retained; what a quota refuses is sent again after a pause."""
        if isinstance(failure, BrokerRefusal):
            self._note_refused(failure)
        if isinstance(failure, QuotaExceeded):
            # It keeps its place among those in flight, so that less is sent meanwhile.
            repeat = functools.partial(self._repeat, lane, message, failures + 1)
            asyncio.get_running_loop().call_later(backoff_s(failures + 1), repeat)
            return
        self._forget(message)
        self._acknowledged(lane, None, failure)

    def _repeat(self, lane: _Lane, message: Message, failures: int) -> None:
        """Send a message again, unless a newer one is on its topic or the connection broke."""
        is_newest = self._newest.get(message.topic) is message
        if self._client is None or not is_newest:
            return self._acknowledged(lane, None, None)
        lane.in_flight -= 1
        self._send(self._client, lane, message, None, failures)

    def _forget(self, message: Message) -> None:
        if self._newest.get(message.topic) is message:
            del self._newest[message.topic]

    def _note_refused(self, refusal: BrokerRefusal) -> None:
        self._refusals += 1
        if monotonic_s() >= self._refusals_noted_at + REFUSALS_NOTED_S:
            self._inbox.put(MessagesRefused(str(refusal), self._refusals))
            self._refusals, self._refusals_noted_at = 0, monotonic_s()

    def drop_unsent(self) -> None:
        """Forget what waits, once the connection broke: their senders retransmit what matters."""
        for queue in (self._usual.queue, self._bulk.queue):
            while not queue.empty():
                _, confirmation = queue.get_nowait()
                _settle(confirmation, ConnectionError("the connection to the broker broke"))
                queue.task_done()
        self._newest.clear()
        # The next connection begins as after any other: what matters is sent again.
        self._dropped_before = self.dropped

    def _note_dropped(self) -> None:
        if self.dropped == self._dropped_before:
            self._inbox.put(Congestion(dropped=0))
        self.dropped += 1

    def _note_relieved(self) -> None:
        """Notify of the end of a congestion, so that what no sender retransmits is sent again."""
        is_empty = self._usual.queue.empty() and self._bulk.queue.empty()
        if is_empty and self.dropped > self._dropped_before:
            self._inbox.put(Congestion(dropped=self.dropped - self._dropped_before))
            self._dropped_before = self.dropped


def _settle(confirmation: Confirmation | None, failure: Exception | None) -> None:
    if confirmation is None or confirmation.done():
        return
    if failure is not None:
        confirmation.set_exception(failure)
    else:
        confirmation.set_result(None)
