"""Proof that a control plane has read what the broker had received by some time. Pure.

A broker passes a participant's messages on in order. So when a message that a control plane sent to
itself comes back, all heartbeats that the broker had received before it have come too. However late
the connection of a control plane is, it takes no lease for expired that was renewed in time.
"""

from __future__ import annotations

from collections.abc import Callable

from worker.fleet.messaging import messages as wire

MAX_AWAITED = 10_000


class BrokerEcho:
    """The echoes of one control plane: until when it has read all messages.

    ``token`` makes a secret for each message. Others may see a message on the broker, and can
    neither make the next one nor prove anything with a copy: each counts once, for the time at
    which it was sent.
    """

    def __init__(self, token: Callable[[], str]) -> None:
        self.heard_us = 0
        self._token = token
        self._awaited: dict[bytes, int] = {}

    def ask(self, now_us: int) -> bytes:
        """Return the payload of a message to send."""
        payload = wire.encode(wire.Echo(token=self._token(), sent_us=now_us))
        self._awaited[payload] = now_us
        if len(self._awaited) > MAX_AWAITED:
            del self._awaited[next(iter(self._awaited))]
        return payload

    def receive(self, payload: bytes) -> bool:
        """Record an echo; return False for any message that is not awaited."""
        if payload not in self._awaited:
            return False
        # The newest counts, and not the latest: the clock may have been set back since.
        self.heard_us = self._awaited[payload]
        # Those before it were lost, as a broker keeps the order.
        for earlier in list(self._awaited):
            del self._awaited[earlier]
            if earlier == payload:
                break
        return True

    def on_disconnected(self) -> None:
        """Await no echo any more: the next connection brings none of this one."""
        self._awaited.clear()
