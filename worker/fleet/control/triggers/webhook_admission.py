"""Bounds on what the callers of webhooks hold at once, whoever they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from worker.fleet.control.triggers.call_input import CallRefused

MAX_CALLS = 250
"""Calls of one trigger at a time: those that wait for slow runs must not keep others out."""
MAX_BYTES = 256 * 1024 * 1024
"""The bodies of all calls: a thousand callers without authentication may each send megabytes."""
MAX_UNPROVEN_BYTES = 128 * 1024 * 1024
"""Those among them whose senders have not proven yet who they are."""
RETRY_AFTER_S = 5


class Admission:
    """The calls that are being handled, by trigger, and the bytes of their bodies."""

    def __init__(self) -> None:
        self._calls = Counter[str]()
        self._bytes = self._unproven_bytes = 0

    @contextmanager
    def call(self, trigger_id: str) -> Iterator[None]:
        """Admit a call until the block ends. Raises :class:`CallRefused` where there are many."""
        if self._calls[trigger_id] >= MAX_CALLS:
            raise _busy(f"{MAX_CALLS} calls of this webhook are being handled")
        self._calls[trigger_id] += 1
        try:
            yield
        finally:
            self._calls[trigger_id] -= 1
            if not self._calls[trigger_id]:
                del self._calls[trigger_id]

    @contextmanager
    def body(self, *, proven: bool) -> Iterator[AdmittedBody]:
        """Count the bytes of a body until the block ends; ``proven``: its sender is known."""
        body = AdmittedBody(self, proven=proven)
        try:
            yield body
        finally:
            body.prove()
            self._bytes -= body.size

    def take(self, size: int, *, proven: bool) -> None:
        """Count bytes of a body. Raises :class:`CallRefused` where there are too many."""
        unproven = 0 if proven else size
        if self._bytes + size > MAX_BYTES or self._unproven_bytes + unproven > MAX_UNPROVEN_BYTES:
            raise _busy("too many bodies are being received")
        self._bytes += size
        self._unproven_bytes += unproven

    def prove(self, size: int) -> None:
        """Count bytes as those of a sender who is known by now."""
        self._unproven_bytes -= size


class AdmittedBody:
    """The bytes of a body that a call holds."""

    def __init__(self, admission: Admission, *, proven: bool) -> None:
        self._admission = admission
        self._proven = proven
        self.size = 0

    def take(self, size: int) -> None:
        """Count bytes of the body. Raises :class:`CallRefused` where all have too many."""
        self._admission.take(size, proven=self._proven)
        self.size += size

    def prove(self) -> None:
        """Record that the sender is known."""
        if not self._proven:
            self._proven = True
            self._admission.prove(self.size)


def _busy(reason: str) -> CallRefused:
    remedy = f"send the call again after {RETRY_AFTER_S} s"
    return CallRefused(503, "busy", f"{reason}: {remedy}", {"retry-after": str(RETRY_AFTER_S)})
