"""Proof that a control plane has read what the broker had received by some time. Pure.

A broker passes a participant's messages on in order. So when a message that a control plane sent to
itself comes back, all heartbeats that the broker had received before it have come too. However late
the connection of a control plane is, it takes no lease for expired that was renewed in time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import Message

MAX_AWAITED = 10_000
SLOW_ECHO_S = 30.0
"""A control plane whose messages to itself take this long is unhealthy: no lease ends."""


@dataclass(frozen=True, slots=True)
class _EchoRequest:
    """A request for an echo: the time that it proves, when it was sent, and if leases wait."""

    now_us: int
    sent_at: float
    is_urgent: bool


class BrokerEcho:
    """The echoes of one control plane, on a topic of its own.

    All that was on its way to the broker and from it at ``echoed_us`` has arrived. ``now_s`` are
    seconds by any monotonic clock. ``token`` makes a secret for each message. Others may see a
    message on the broker, and can neither make the next one nor prove anything with a copy: each
    counts once, for the time at which it was sent.
    """

    def __init__(self, topic: str, token: Callable[[], str]) -> None:
        self.topic = topic
        self.echoed_us = 0
        self._token = token
        # By their payloads, in the order in which they were sent.
        self._awaited: dict[bytes, _EchoRequest] = {}

    def request(self, now_us: int, now_s: float, *, is_urgent: bool) -> Message:
        """Return a message to send; ``is_urgent``: leases wait for its echo."""
        payload = wire.encode(wire.Echo(token=self._token(), sent_us=now_us))
        self._awaited[payload] = _EchoRequest(now_us, now_s, is_urgent)
        if len(self._awaited) > MAX_AWAITED:
            del self._awaited[next(iter(self._awaited))]
        return Message(topic=self.topic, payload=payload)

    def receive(self, payload: bytes) -> bool:
        """Record an echo, unless it is not awaited; return True where leases wait for it."""
        request = self._awaited.get(payload)
        if request is None:
            return False
        # The newest counts, and not the latest: the clock may have been set back since.
        self.echoed_us = request.now_us
        # Those before it were lost, as a broker keeps the order.
        for earlier in list(self._awaited):
            del self._awaited[earlier]
            if earlier == payload:
                break
        return request.is_urgent

    def on_disconnected(self) -> None:
        """Await no echo any more: the next connection brings none of this one."""
        self._awaited.clear()

    def problem(self, now_s: float) -> str:
        """Return why no lease can end; empty while echoes return in time."""
        oldest = next(iter(self._awaited.values()), None)
        if oldest is None or now_s - oldest.sent_at <= SLOW_ECHO_S:
            return ""
        return (
            f"no message returns on {self.topic}: the access list of the broker must "
            "allow this control plane to publish and to read it"
        )
