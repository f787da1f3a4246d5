"""Contents that workers are fetching, and the plans that each of them has had."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.content import ref_of

MAX_CACHED_BYTES = 64 * 1024 * 1024
"""The size of the contents that are kept for the next chunk."""
MAX_SENT_PLANS = 10_000


class RunContentCache:
    """Contents that are being fetched, and the plans that each worker has had."""

    def __init__(self) -> None:
        self._contents: OrderedDict[Hashable, tuple[bytes, wire.ContentRef]] = OrderedDict()
        self._sent: OrderedDict[tuple[str, str], None] = OrderedDict()

    def get(self, key: Hashable) -> tuple[bytes, wire.ContentRef] | None:
        return self._contents.get(key)

    def put(self, key: Hashable, content: bytes) -> tuple[bytes, wire.ContentRef]:
        self._contents[key] = content, ref_of(content)
        while len(self._contents) > 1 and self._held_bytes() > MAX_CACHED_BYTES:
            self._contents.popitem(last=False)
        return self._contents[key]

    def _held_bytes(self) -> int:
        return sum(len(content) for content, _ in self._contents.values())

    def is_first(self, incarnation: str, plan_id: str) -> bool:
        """Return True where a worker has not had a plan yet; from then on it has."""
        key = incarnation, plan_id
        is_first = key not in self._sent
        self._sent[key] = None
        if len(self._sent) > MAX_SENT_PLANS:
            self._sent.popitem(last=False)
        return is_first
