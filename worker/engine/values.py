"""Values on their way into the engine: a tag and the value's bytes (tools/engine/engine.c)."""

from __future__ import annotations

import struct
from enum import Enum, IntEnum
from typing import Final


class Register(Enum):
    """The value that the last script evaluated to, which stays in the engine."""

    VALUE = "r"


REGISTER: Final = Register.VALUE

Argument = str | float | bool | None | Register
Value = str | float | bool | None


_STRING_HEAD = struct.Struct("<cI")


class Kind(IntEnum):
    """Kinds of results, numbered as in engine.c."""

    STRING = 0
    NOTHING = 1
    THROWN = 2
    NUMBER = 3
    TRUE = 4
    FALSE = 5


def pack(*arguments: Argument) -> bytes:
    """Return the bytes that engine.c unpacks to these values."""
    parts: list[bytes] = []
    for value in arguments:
        if isinstance(value, str):
            data = value.encode("utf-8", "surrogatepass")
            parts += (_STRING_HEAD.pack(b"s", len(data)), data)
        else:
            parts.append(_packed(value))
    return b"".join(parts)


def _packed(value: float | bool | Register | None) -> bytes:
    if value is None:
        return b"n"
    if value is REGISTER:
        return b"r"
    if isinstance(value, bool):
        return b"t" if value else b"f"
    assert not isinstance(value, Register)
    return b"d" + struct.pack("<d", value)
