"""JSON encoding: compact, and readable in every script."""

from __future__ import annotations

import json
from typing import Any


def dumps(value: Any) -> str:
    """Encode a value as compact JSON text that is valid in UTF-8.

    Raises ``TypeError``, ``ValueError`` or ``RecursionError`` if the value is not JSON.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair has no UTF-8: only then is everything beyond ASCII escaped.
        return json.dumps(value, separators=(",", ":"))
    return text
