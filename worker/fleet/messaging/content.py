"""Contents that are too large for a message: split into chunks, and joined again. Pure."""

from __future__ import annotations

import hashlib
import math

from worker.fleet.messaging.messages import Chunk, ContentRef
from worker.util.nesting import SIZE_LIMIT_BYTES

MAX_MESSAGE_BYTES = 256 * 1024
"""The largest message that is sent in one piece, where the broker takes it."""
MIN_MESSAGE_BYTES = 8 * 1024
CHUNK_WINDOW = 4
"""How many chunks of a content are sent and not answered yet."""
RETRANSMIT_CHUNK_S = 2.0
_ENVELOPE_BYTES = 1024


def ref_of(content: bytes) -> ContentRef:
    return ContentRef(hash=hashlib.sha256(content).hexdigest(), size=len(content))


def chunk_bytes(max_message_bytes: int) -> int:
    """Return the size of the chunks that fit messages of a size."""
    # Chunks are sent in base64.
    return (max_message_bytes - _ENVELOPE_BYTES) * 3 // 4


def chunk_at(content: bytes, ref: ContentRef, offset: int, max_message_bytes: int) -> Chunk:
    """Return the chunk of a content that begins at an offset and fits a message."""
    data = content[offset : offset + chunk_bytes(max_message_bytes)]
    return Chunk(content=ref, offset=offset, data=data)


def chunks_of(content: bytes, max_message_bytes: int) -> list[Chunk]:
    """Split a content into chunks that fit messages of a size."""
    ref = ref_of(content)
    offsets = range(0, max(1, len(content)), chunk_bytes(max_message_bytes))
    return [chunk_at(content, ref, offset, max_message_bytes) for offset in offsets]


def joined(ref: ContentRef, chunks: dict[int, bytes]) -> bytes | None:
    """Join chunks by their offsets; ``None`` where some are missing, or are of another content.

    Chunks of different sizes may overlap: the limit of a message may change on the way.
    """
    content = bytearray()
    for offset, data in sorted(chunks.items()):
        if offset > len(content):
            return None
        content += data[len(content) - offset :]
    whole = bytes(content)
    return whole if ref_of(whole) == ref else None


class ContentUpload:
    """The transmission of one content: up to ``CHUNK_WINDOW`` chunks wait for a response."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.ref = ref_of(content)
        self._waiting: list[int] | None = None
        self._sent_at: dict[int, float] = {}

    @property
    def complete(self) -> bool:
        return self._waiting == [] and not self._sent_at

    def due(self, now: float, max_message_bytes: int) -> list[Chunk]:
        """Return the chunks to send now; ``now`` is in seconds, by any monotonic clock."""
        if self._waiting is None:
            self._waiting = list(range(0, self.ref.size, chunk_bytes(max_message_bytes)))
        # The first chunk alone: the whole may be refused for its size.
        is_first = self._waiting[:1] == [0] or 0 in self._sent_at
        while self._waiting and len(self._sent_at) < (1 if is_first else CHUNK_WINDOW):
            self._sent_at[self._waiting.pop(0)] = -math.inf
        due = [at for at, sent in self._sent_at.items() if now - sent >= RETRANSMIT_CHUNK_S]
        self._sent_at |= dict.fromkeys(due, now)
        return [chunk_at(self._content, self.ref, at, max_message_bytes) for at in due]

    def stored(self, offset: int) -> None:
        self._sent_at.pop(offset, None)

    def restart(self) -> None:
        """Send all chunks again, of the size that fits by now."""
        self._waiting = None
        self._sent_at.clear()


class ContentDownload:
    """The arrival of one content, chunk after chunk."""

    def __init__(self) -> None:
        self._ref: ContentRef | None = None
        self._content = bytearray()

    @property
    def offset(self) -> int:
        """The offset of the chunk that is missing."""
        return len(self._content)

    def add(self, chunk: Chunk) -> bytes | None:
        """Add a chunk, and return the content once it is complete.

        A chunk of other content begins the download anew, as does a wrong hash.
        """
        if self._ref is not None and chunk.content != self._ref:
            self._ref, self._content = None, bytearray()
        end = chunk.offset + len(chunk.data)
        if chunk.offset != len(self._content) or end > chunk.content.size:
            return None
        # Whoever sends it names the size: without a limit it would fill the memory.
        if chunk.content.size > SIZE_LIMIT_BYTES:
            return None
        self._ref = chunk.content
        self._content += chunk.data
        if len(self._content) < chunk.content.size:
            return None
        content = bytes(self._content)
        self._ref, self._content = None, bytearray()
        return content if ref_of(content) == chunk.content else None
