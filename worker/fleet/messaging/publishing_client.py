"""A client of MQTT that publishes without a task for each message.

It reports why the broker refuses a message; aiomqtt drops these reasons.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiomqtt
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from worker.fleet.messaging.buffered_client import BufferedClient
from worker.fleet.messaging.bus import AccessDenied, BrokerRefusal, Message, QuotaExceeded
from worker.fleet.messaging.packets import MAX_PACKET_BYTES
from worker.fleet.messaging.publish_packet import encode_publish

WATCH_S = 1.0
# Bad user name or password, not authorized, bad authentication method.
ACCESS_DENIED = (0x86, 0x87, 0x8C)
# Too many messages at once, too high a rate, a quota.
_QUOTA_EXCEEDED = (0x93, 0x96, 0x97)
Settle = Callable[[Exception | None], None]
"""Receives the failure of a message, or ``None`` once the broker has it."""


@dataclass(frozen=True, slots=True)
class _Unacknowledged:
    """A message that the broker has not acknowledged, and the time when that is too late."""

    topic: str
    settle: Settle
    late_at: float


class PublishingClient(BufferedClient):
    """A client whose messages are settled by calls. No packet may be over ``max_packet_bytes``."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._unacknowledged: dict[int, _Unacknowledged] = {}
        self.max_packet_bytes = MAX_PACKET_BYTES
        self.on_acknowledged = self._settle_acknowledged

    def _on_connect(
        self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None
    ) -> None:
        announced = getattr(properties, "MaximumPacketSize", MAX_PACKET_BYTES)
        self.max_packet_bytes = min(MAX_PACKET_BYTES, announced)
        super()._on_connect(client, userdata, flags, reason_code, properties)

    @property
    def unwritten(self) -> int:
        """The number of packets that the connection has not taken yet; small ones are joined."""
        return len(self._client._out_packet)

    def publish_unacknowledged(self, message: Message) -> None:
        """Publish with QoS 0.

        Raises :class:`aiomqtt.MqttError`, :class:`ValueError` and :class:`BrokerRefusal`.
        """
        self._queue_publish(message)

    def publish_acknowledged(self, message: Message, settle: Settle) -> None:
        """Publish with QoS 1, and call ``settle`` later, unless it raises an exception.

        The failure can be a :class:`BrokerRefusal`.
        """
        id = self._client._mid_generate()
        self._queue_publish(message, id)
        late_at = self._loop.time() + self.timeout
        self._unacknowledged[id] = _Unacknowledged(message.topic, settle, late_at)

    def _queue_publish(self, message: Message, id: int | None = None) -> None:
        if self._client.socket() is None:
            raise aiomqtt.MqttError("the connection to the broker broke")
        command, packet = encode_publish(message, id)
        # The whole packet, with properties that others may have chosen: for one that is larger
        # the broker would close the connection.
        if len(packet) > self.max_packet_bytes:
            raise BrokerRefusal(
                f"a packet on {message.topic} has {len(packet):,} bytes, and the limit of a "
                f"packet is {self.max_packet_bytes:,}"
            )
        # As one of QoS 1 in any case: of those paho notifies nobody when they are written.
        code = self._client._packet_queue(command, packet, 0, 1)
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise aiomqtt.MqttCodeError(code, "cannot publish")

    def _settle_acknowledged(self, id: int, reason: ReasonCode) -> None:
        message = self._unacknowledged.pop(id, None)
        if message is None:
            return
        failure = None
        if reason.is_failure:
            failure = _refusal_kind(reason.value)(
                f"the broker refuses messages on {message.topic}: {reason}"
            )
        message.settle(failure)

    def fail_unacknowledged(self, failure: Exception, until: float | None = None) -> None:
        """Settle the messages that are late at the time ``until``, by default all."""
        for id, message in list(self._unacknowledged.items()):
            if until is None or until >= message.late_at:
                del self._unacknowledged[id]
                message.settle(failure)

    async def watch(self) -> None:
        """Fail the messages that the broker does not acknowledge in time, until cancelled."""
        while True:
            await asyncio.sleep(WATCH_S)
            late = ConnectionError("the broker acknowledges no message")
            self.fail_unacknowledged(late, self._loop.time())


def _refusal_kind(code: int) -> type[BrokerRefusal]:
    if code in ACCESS_DENIED:
        return AccessDenied
    return QuotaExceeded if code in _QUOTA_EXCEEDED else BrokerRefusal
