"""Structs that are pickled whole, as MessagePack."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from msgspec import Struct


class Packed(Struct, frozen=True):
    """Base of structs that hold many others; pickling each of those takes ten times as long."""

    def __reduce__(self) -> str | tuple[Any, ...]:
        try:
            return _unpack, (type(self), msgspec.msgpack.encode(self))
        except (UnicodeEncodeError, OverflowError):
            # Half a surrogate pair, or a number beyond 64 bits.
            return super().__reduce__()


def prepare_decoders() -> None:
    """Make the decoders of all kinds, so that the processes that this one forks have them."""
    for kind in Packed.__subclasses__():
        _decoder(kind)


def _unpack(kind: type[Packed], data: bytes) -> Packed:
    return _decoder(kind).decode(data)


@cache
def _decoder(kind: type[Packed]) -> msgspec.msgpack.Decoder[Packed]:
    return msgspec.msgpack.Decoder(kind)
