"""Sizes of chunks: the items that one task of the cluster handles.

A chunk is large enough for its transfer to cost little beside its work, and small enough for the
workers to end at about the same time. What an item costs is measured on the chunks before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

TARGET_S = 2.0
"""Time of a chunk, whose transfer costs client and scheduler about 10 ms of processor time."""

_LEAST_S = 0.1

MAX_BYTES = 4 * 2**20
"""A chunk of more bytes has one item: the scheduler holds all chunks that are not finished."""

MAX_ITEMS = 2_000
_FIRST_ITEMS = 16
# Towards the end, what is left is shared among all slots at least twice.
_SHARES_PER_SLOT = 2
# New measurements count for this much: one slow item must not make all later chunks tiny.
_WEIGHT = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkSizer:
    """Decides how many items the next chunk has; ``item_s`` is the measured cost of one."""

    slots: int
    item_s: float | None = None

    def most_items(self, left: int) -> int:
        """Return the largest number of items of the next chunk, where ``left`` wait."""
        by_cost = _FIRST_ITEMS if self.item_s is None else TARGET_S / max(self.item_s, 1e-6)
        by_share = math.ceil(left / (self.slots * _SHARES_PER_SLOT))
        # To share less than this costs more than the workers that would wait for each other.
        least = 1 if self.item_s is None else int(_LEAST_S / max(self.item_s, 1e-6))
        return max(1, min(MAX_ITEMS, int(by_cost), max(by_share, least)))

    def measured(self, items: int, seconds: float) -> ChunkSizer:
        """Return the sizer that also knows the cost of a finished chunk."""
        cost = seconds / items
        if self.item_s is not None:
            cost = self.item_s + _WEIGHT * (cost - self.item_s)
        return ChunkSizer(slots=self.slots, item_s=cost)
