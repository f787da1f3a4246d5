"""JSON as this project writes it: compact, and readable in every script."""

from __future__ import annotations

import json
from typing import Any


def dumps(value: Any) -> str:
    """JSON text that can be encoded: letters stand as they are, halves of surrogate pairs escaped.

    Raises ``TypeError``, ``ValueError`` or ``RecursionError`` on what is not JSON.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"))
    return text
