"""Proof that a control plane has read what the broker had received by some time. Pure.

A broker passes a participant's messages on in order. So when a message that a control plane sent to
itself comes back, all heartbeats that the broker had received before it have come too. However late
the connection of a control plane is, it takes no lease for expired that was renewed in time.
"""

from __future__ import annotations

from worker.fleet.messaging import messages as wire


class BrokerEcho:
    """The echoes of one control plane: until when it has read all messages."""

    def __init__(self, token: str) -> None:
        self.heard_us = 0
        self._token = token

    def ask(self, now_us: int) -> bytes:
        """Return the payload of a message to send."""
        return wire.encode(wire.Echo(token=self._token, sent_us=now_us))

    def receive(self, payload: bytes) -> bool:
        """Record an echo; return False for a message of anybody else."""
        try:
            echo = wire.decode(wire.Echo, payload)
        except wire.WireError:
            return False
        if echo.token != self._token:
            return False
        # The newest counts, and not the latest: the clock may have been set back since.
        self.heard_us = echo.sent_us
        return True
