"""Ids for the starts of a process."""

from __future__ import annotations

import secrets
import time


def incarnation() -> str:
    """Return a new id that sorts after all earlier ones."""
    return f"{time.time_ns():016x}-{secrets.token_hex(4)}"
