"""JSON encoding: compact, and readable in every script."""

from __future__ import annotations

import json
from typing import Any

# One encoder for all values: json.dumps() would make one for each.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_encode_ascii = json.JSONEncoder(separators=(",", ":")).encode


def dumps(value: Any) -> str:
    """Encode a value as compact JSON text that is valid in UTF-8.

    Raises ``TypeError``, ``ValueError`` or ``RecursionError`` if the value is not JSON.
    """
    text = _encode(value)
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair has no UTF-8: only then is everything beyond ASCII escaped.
        return _encode_ascii(value)
    return text


def dump_indented(value: Any) -> str:
    """Encode a value as indented JSON text for a file, valid in UTF-8, with a final line feed."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    # Half of a surrogate pair, where a text was cut, has no UTF-8. Python's escape of it is JSON's.
    return text.encode("utf-8", "backslashreplace").decode() + "\n"
