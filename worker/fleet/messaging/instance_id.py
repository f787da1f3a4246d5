"""One start of a process, told from its others."""

from __future__ import annotations

import secrets
import time


def incarnation() -> str:
    """An id that is new each time, and sorts after those from before."""
    return f"{time.time_ns():016x}-{secrets.token_hex(4)}"
