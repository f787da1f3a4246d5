"""Lines of a recording that travel with the events of a run whose order asks for them.

They are in front of an event's own fields, so that events without them are as in any journal, and
nobody has to parse an event to know that it has none.
"""

from __future__ import annotations

import msgspec

ESCAPED_SIZE = 2
"""How many times larger lines can become as a string in JSON: their quotes are escaped."""
_BEGIN = b'{"recorded":'
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def attach(event: bytes, lines: bytes) -> bytes:
    """Return the text of an event with lines of a recording."""
    return b"%b%b,%b" % (_BEGIN, _encode(lines.decode("utf-8", "replace")), event[1:])


def detach(text: bytes) -> tuple[bytes, str]:
    """Return the text of an event, and the lines that came with it; empty where there are none.

    What is not as :func:`attach` makes it is returned as it is.
    """
    if not text.startswith(_BEGIN):
        return text, ""
    try:
        fields = _decode(text)
        lines = msgspec.json.decode(fields.pop("recorded"), type=str)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return text, ""
    return _encode(fields), lines
