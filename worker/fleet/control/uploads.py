"""Contents that clients and workers send in chunks, before the message that refers to them."""

from __future__ import annotations

from worker.fleet.control.unit_of_work import UnitOfWork
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.content import joined

CHUNK_LIFETIME_US = 3_600_000_000
"""How long chunks are stored that nothing refers to."""
# The message that refers to a content is repeated if its response is lost.
USED_LIFETIME_US = 60_000_000
MAX_UPLOADED_BYTES = 1024 * 1024 * 1024
"""The size of all contents that are stored in chunks."""


class ChunkRefused(Exception):
    """A chunk that is not stored. ``code``: too_large, invalid; busy for now."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def store_chunk(uow: UnitOfWork, owner: str, chunk: wire.Chunk) -> None:
    """Store a chunk of an owner. Raises :class:`ChunkRefused`."""
    ref, limit = chunk.content, uow.settings.max_payload_bytes
    if ref.size > limit:
        text = f"{ref.size:,} bytes, and the limit is {limit:,} (--message-limit)"
        raise ChunkRefused("too_large", text)
    if not chunk.data or chunk.offset + len(chunk.data) > ref.size:
        text = f"a chunk of {len(chunk.data):,} bytes at {chunk.offset:,} of {ref.size:,}"
        raise ChunkRefused("invalid", text)
    if chunk.offset == 0 and uow.transaction.uploaded_bytes() + ref.size > MAX_UPLOADED_BYTES:
        text = f"{MAX_UPLOADED_BYTES:,} bytes are being received already: try again later"
        raise ChunkRefused("busy", text)
    uow.transaction.put_chunk(
        {
            "owner": owner,
            "hash": ref.hash,
            "place": chunk.offset,
            "size": ref.size,
            "received": uow.now_us,
            "data": chunk.data,
        }
    )


def use_content(uow: UnitOfWork, owner: str, ref: wire.ContentRef) -> bytes | None:
    """Return a content whose chunks are stored; ``None`` where some are missing."""
    content = joined(ref, uow.transaction.chunks(owner, ref.hash))
    if content is not None:
        received = uow.now_us - CHUNK_LIFETIME_US + USED_LIFETIME_US
        uow.transaction.age_chunks(owner, ref.hash, received)
    return content


def forget_chunks(uow: UnitOfWork) -> None:
    """Delete the chunks that are too old."""
    uow.transaction.forget_chunks(uow.now_us - CHUNK_LIFETIME_US)
