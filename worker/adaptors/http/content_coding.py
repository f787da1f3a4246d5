"""Decompression of responses in pieces of bounded size."""

from __future__ import annotations

import asyncio
import itertools
import zlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

PIECE_BYTES = 64 * 1024
MAX_CODINGS = 5
ACCEPTED = "gzip, deflate"
# The first is checked for what servers call deflate: with the header of zlib, or without it.
_WINDOWS = {"gzip": (zlib.MAX_WBITS | 16,), "deflate": (zlib.MAX_WBITS, -zlib.MAX_WBITS)}
_PIECES_AT_ONCE = 16


class CodingError(Exception):
    """A body that is not what its content coding promises."""


class _Inflater:
    """Decompressor of one coding."""

    def __init__(self, coding: str) -> None:
        window, *self._others = _WINDOWS[coding]
        self._stream = zlib.decompressobj(window)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what the data decompresses to; what follows the end of the stream is dropped."""
        # Without a size, 64 kB of zeros that were compressed become 64 MB in one call. After its
        # end the decompressor would keep all that follows, and copy it for each piece.
        while not self._stream.eof:
            piece = self._inflate(data)
            data = self._stream.unconsumed_tail
            yield piece
            # A full piece may leave bytes in the stream although all input is consumed.
            if not data and len(piece) < PIECE_BYTES:
                return

    def _inflate(self, data: bytes) -> bytes:
        try:
            piece = self._stream.decompress(data, PIECE_BYTES)
        except zlib.error as error:
            if not self._others:
                raise CodingError(str(error)) from error
            self._stream = zlib.decompressobj(self._others.pop())
            return self._inflate(data)
        self._others.clear()
        return piece


class BodyDecoder:
    """Decoder of a body with the codings of its ``content-encoding``, in their order."""

    def __init__(self, header: str, turn: AbstractAsyncContextManager[Any] | None = None) -> None:
        """Take the header; ``turn`` is held while a thread decompresses."""
        # Threads of many bodies at once would keep the event loop waiting for the interpreter.
        self._turn = turn or nullcontext()
        names = [name.strip().lower() for name in header.split(",")]
        codings = [name for name in names if name not in ("", "identity")]
        # The body is passed on as it came where a coding is unknown.
        self.decodes = all(name in _WINDOWS for name in codings)
        if len(codings) > MAX_CODINGS:
            raise CodingError(f"more than {MAX_CODINGS} content codings")
        self._inflaters = [_Inflater(name) for name in reversed(codings)] if self.decodes else []

    async def decode(self, chunk: bytes) -> AsyncIterator[bytes]:
        """Yield the pieces of a chunk; all but the first are decompressed in threads."""
        if not self._inflaters:
            yield chunk
            return
        pieces = _inflated(chunk, self._inflaters)
        size = 2
        batch = list(itertools.islice(pieces, size))
        yield b"".join(batch)
        while len(batch) == size:
            size = _PIECES_AT_ONCE
            async with self._turn:
                batch = await asyncio.to_thread(list, itertools.islice(pieces, size))
            yield b"".join(batch)


def _inflated(data: bytes, inflaters: Sequence[_Inflater]) -> Iterator[bytes]:
    if not inflaters:
        yield data
        return
    for piece in inflaters[0].feed(data):
        yield from _inflated(piece, inflaters[1:])
