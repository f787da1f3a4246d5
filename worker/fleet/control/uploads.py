"""Contents that clients and workers send in chunks, before the message that refers to them."""

from __future__ import annotations

from worker.fleet.control.unit_of_work import UnitOfWork
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.content import joined

CHUNK_LIFETIME_US = 3_600_000_000
"""How long chunks are stored that nothing refers to."""
IDLE_UPLOAD_US = 60_000_000
"""How long after its last chunk a content makes room for others, where there is none left."""
# The message that refers to a content is repeated if its response is lost.
USED_LIFETIME_US = 60_000_000
MAX_UPLOADED_BYTES = 1024 * 1024 * 1024
"""The size of all contents that are stored in chunks."""
MIN_CHUNK_BYTES = 1024
"""The size of a chunk that is not the last: rows of a few bytes would cost more than their data."""
# Chunks overlap where the limit of a message has changed on the way.
MAX_OVERLAP = 2


class ChunkRefused(Exception):
    """A chunk that is not stored. ``code``: too_large, invalid; missing chunks; busy for now."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def store_chunk(uow: UnitOfWork, owner: str, chunk: wire.Chunk) -> None:
    """Store a chunk of an owner. Raises :class:`ChunkRefused`."""
    ref, limit = chunk.content, uow.settings.max_payload_bytes
    if ref.size > limit:
        text = f"{ref.size:,} bytes, and the limit is {limit:,} (--payload-limit)"
        raise ChunkRefused("too_large", text)
    end = chunk.offset + len(chunk.data)
    if not chunk.data or end > ref.size or (end < ref.size and len(chunk.data) < MIN_CHUNK_BYTES):
        text = f"a chunk of {len(chunk.data):,} bytes at {chunk.offset:,} of {ref.size:,}"
        raise ChunkRefused("invalid", text)
    _check_room(uow, owner, chunk)
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


def _check_room(uow: UnitOfWork, owner: str, chunk: wire.Chunk) -> None:
    """Refuse a chunk beyond the limits; the first chunk of a content reserves its size."""
    ref = chunk.content
    size, stored = uow.transaction.stored_chunks(owner, ref.hash)
    if size is None and chunk.offset > 0:
        raise ChunkRefused("missing", "chunks before this one are missing: send them again")
    if size is None and not _has_room(uow, ref.size):
        text = f"{MAX_UPLOADED_BYTES:,} bytes are being received already: try again later"
        raise ChunkRefused("busy", text)
    if size is not None and size != ref.size:
        raise ChunkRefused("invalid", f"a content of {size:,} bytes cannot have {ref.size:,}")
    if stored + len(chunk.data) > MAX_OVERLAP * ref.size:
        text = f"{stored:,} bytes of a content of {ref.size:,} are stored: try again later"
        raise ChunkRefused("busy", text)


def _has_room(uow: UnitOfWork, size: int) -> bool:
    if uow.transaction.uploaded_bytes() + size <= MAX_UPLOADED_BYTES:
        return True
    # Of senders that have ended: they must not keep out all others for an hour. One that was only
    # disconnected sends its content again.
    uow.transaction.forget_uploads(uow.now_us - IDLE_UPLOAD_US)
    return uow.transaction.uploaded_bytes() + size <= MAX_UPLOADED_BYTES


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
