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
    try:
        text.encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair has no UTF-8: only then is everything beyond ASCII escaped.
        return _encode_ascii(value)
    return text
