"""Proof that a control plane has read what the broker had received by some time. Pure.

A broker passes a participant's messages on in order. So when a message that a control plane sent to
itself comes back, all heartbeats that the broker had received before it have come too. However late
the connection of a control plane is, it takes no lease for expired that was renewed in time.
"""

from __future__ import annotations

from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import Message

SLOW_ECHO_S = 30.0
"""A control plane whose messages to itself take this long is unhealthy: no lease ends."""


class BrokerEcho:
    """The echoes of one control plane, on a topic of its own.

    All that was on its way to the broker and from it at ``echoed_us`` has arrived. ``now_s`` are
    seconds by any monotonic clock.
    """

    def __init__(self, topic: str, token: str) -> None:
        self.topic = topic
        self.echoed_us = 0
        self._token = token
        # The time of the first request since the last echo.
        self._requested_at: float | None = None
        self._is_awaited = False

    def request(self, now_us: int, now_s: float, *, is_awaited: bool) -> Message:
        """Return a message to send; ``is_awaited``: leases wait for its echo."""
        self._is_awaited = is_awaited
        if self._requested_at is None:
            self._requested_at = now_s
        payload = wire.encode(wire.Echo(token=self._token, sent_us=now_us))
        return Message(topic=self.topic, payload=payload)

    def receive(self, payload: bytes) -> bool:
        """Record an echo, unless it is of anybody else; return True where leases wait for it."""
        try:
            echo = wire.decode(wire.Echo, payload)
        except wire.WireError:
            return False
        if echo.token != self._token:
            return False
        # The newest counts, and not the latest: the clock may have been set back since.
        self.echoed_us = echo.sent_us
        self._requested_at = None
        return self._is_awaited

    def disconnected(self) -> None:
        """Expect no echo of what was sent over a connection that broke."""
        self._requested_at = None

    def problem(self, now_s: float) -> str:
        """Return why no lease can end; empty while echoes return in time."""
        if self._requested_at is None or now_s - self._requested_at <= SLOW_ECHO_S:
            return ""
        return (
            f"no message returns on {self.topic}: the access list of the broker must "
            "allow this control plane to publish and to read it"
        )
