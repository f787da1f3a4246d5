"""Text from workflows, logs and states, made safe to print: none of it may drive a terminal."""

from __future__ import annotations

import re

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def printable(text: str) -> str:
    """The text with control characters, escapes and overrides of direction spelled out."""
    return _UNSAFE.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def one_line(text: str, limit: int = 300) -> str:
    """The text on a line of its own, within ``limit`` characters."""
    flat = printable(text.replace("\n", " ⏎ ").replace("\t", " "))
    return flat if len(flat) <= limit else f"{flat[: limit - 1]}…"


def seconds(microseconds: int) -> str:
    """A duration as people say it: ``0.4 ms``, ``12 ms``, ``1.5 s``."""
    if microseconds < 10_000:
        return f"{microseconds / 1000:.1f} ms"
    if microseconds < 1_000_000:
        return f"{microseconds / 1000:.0f} ms"
    return f"{microseconds / 1_000_000:.1f} s"


def clock(microseconds: int) -> str:
    """The time of a day in UTC, to the millisecond, of a time since the epoch."""
    rest = microseconds // 1000 % 86_400_000
    hours, rest = divmod(rest, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}.{rest % 1000:03}"
