"""Standard streams that are terminals: unsafe characters of strangers reach none of them."""

from __future__ import annotations

import io
import sys
from typing import TextIO

from worker.sinks.terminal_text import escape_like_json


class TerminalStream(io.TextIOWrapper):
    """Text stream that escapes the unsafe characters that JSON leaves as they are.

    The others are escaped by whoever writes text, and always in JSON: here they are our own.
    """

    def write(self, text: str) -> int:
        super().write(escape_like_json(text))
        return len(text)


def guard_terminals() -> None:
    """Replace the standard output and error where they are terminals.

    Files and pipes get what was written: a program reads it.
    """
    # JSON holds the texts of jobs as they are, and U+009B begins a sequence as ESC [ does.
    sys.stdout = _guarded(sys.stdout)
    sys.stderr = _guarded(sys.stderr)


def _guarded(stream: TextIO) -> TextIO:
    if not stream.isatty():
        return stream
    return TerminalStream(stream.buffer, stream.encoding, stream.errors, line_buffering=True)
