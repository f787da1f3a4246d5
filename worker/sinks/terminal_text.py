"""Text made safe for a terminal, and durations and times in a readable form.

Names, logs and states come from strangers: a control character in them could move the cursor,
change the title of the window or hide a line.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from worker.errors import SOURCE_LINE_LIMIT, PlanError

# Control characters that JSON does not escape, invisible and bidirectional formatting characters,
# halves of surrogate pairs, which cannot be encoded, and the two characters beyond these that XML
# cannot hold: reports and drawings are XML. The two joiners are safe within words of scripts that
# need them (Persian, Hindi) and within emoji, but invisible next to ASCII.
_NOT_ESCAPED_BY_JSON = (
    "[\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff"
    "\ufffe\uffff]"
    "|(?<![^\x00-\x7f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f])"
)
_UNSAFE_IN_JSON = re.compile(_NOT_ESCAPED_BY_JSON)
# And the control characters of ASCII, but for tab and line feed.
_UNSAFE = re.compile(f"[\x00-\x08\x0b-\x1f]|{_NOT_ESCAPED_BY_JSON}")


def printable(text: str) -> str:
    """Make the text one line, and replace each unsafe character by its hexadecimal code.

    One line, as a name with a line feed would be a line of its own: one that reads like ours, or
    like a command to the system for CI that prints it (``::add-mask::``).
    """
    return printable_lines(text.replace("\n", " ⏎ "))


def printable_lines(text: str) -> str:
    """Replace each unsafe character of a text whose line breaks are ours, or which a page holds."""
    return _UNSAFE.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def shell_word(text: str) -> str:
    """Quote a text as one word of a command that is printed, and can be pasted into a shell."""
    return shlex.quote(printable(text))


NO_LIMIT = 1_000_000


def escape_json(text: str) -> str:
    """Escape unsafe characters of JSON text so that it stays the same JSON."""
    # Outside of strings JSON text has no such characters but line breaks, which stay.
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def escape_like_json(text: str) -> str:
    """Escape the unsafe characters that JSON leaves as they are; JSON text stays the same JSON."""
    return _UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def one_line(text: str, limit: int = 300) -> str:
    """Make the text one printable line of at most ``limit`` characters."""
    flat = printable(text).replace("\t", " ")
    return flat if len(flat) <= limit else f"{flat[: limit - 1]}…"


def excerpt(line: int, column: int, text: str) -> Iterator[str]:
    """Show a line of source with its number, and a caret below its column; both count from 1.

    Nothing is shown of a column beyond what errors hold of a line.
    """
    if column > SOURCE_LINE_LIMIT:
        return
    before = text[: column - 1]
    margin = len(before) - 60 if len(before) > 60 else 0
    yield f"    {line:>4} | {printable(text[margin : margin + 100])}"
    # Not the column: printable() makes the text before it longer, and a tab is wider.
    blank = re.sub(r"[^\t]", " ", printable(before[margin:]))
    yield f"         | {blank}^"


def excerpt_of(error: PlanError) -> Iterator[str]:
    """Show the line of source that an error is about; nothing where it is unknown."""
    if error.source_line.strip():
        yield from excerpt(error.line, error.column, error.source_line)


def format_duration(duration_us: int) -> str:
    """Format a duration in microseconds as ``0.4 ms``, ``12 ms`` or ``1.5 s``."""
    if duration_us < 10_000:
        return f"{duration_us / 1000:.1f} ms"
    if duration_us < 1_000_000:
        return f"{duration_us / 1000:.0f} ms"
    return f"{duration_us / 1_000_000:.1f} s"


def format_cost(instructions: int) -> str:
    """Format a number of instructions as ``812``, ``54.1k``, ``1.23M`` or ``40.2G``."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        # What would be rounded to 1000k is 1M.
        if instructions >= size * 0.9995:
            count = instructions / size
            return f"{count:,.0f}{unit}" if count >= 100 else f"{count:.3g}{unit}"
    return str(instructions)


def format_effort(duration_us: int, instructions: int | None) -> str:
    """Format a duration, with the number of instructions where it is known."""
    cost = "" if instructions is None else f", {format_cost(instructions)} instructions"
    return f"{format_duration(duration_us)}{cost}"


def format_time_of_day(timestamp_us: int) -> str:
    """Format microseconds since the epoch as the time of day in UTC, with milliseconds."""
    rest = timestamp_us // 1000 % 86_400_000
    hours, rest = divmod(rest, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02}:{minutes:02}:{rest // 1000:02}.{rest % 1000:03}"


def format_time(timestamp_us: int) -> str:
    """Format microseconds since the epoch as a date and time, with its zone: UTC."""
    # Imported late: every command imports this module, and few print times.
    from worker.util.utc_time import utc_moment

    return utc_moment(timestamp_us).strftime("%Y-%m-%d %H:%M:%S UTC")
