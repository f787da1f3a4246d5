"""Times in texts: an ISO 8601 time, or a duration from now or before now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from worker.util.machine_clock import now_us
from worker.util.units import SECONDS, parse_quantity

MOMENT = "a duration such as 10m, or a time such as 2027-01-31T08:00Z"
"""The accepted texts, for messages."""
_MAX_DURATION_S = 10**9


def parse_moment(text: str, direction: int) -> datetime | None:
    """Parse a time with a zone; ``None`` for another text.

    A duration is from now on where the direction is 1, and before now where it is -1.
    """
    try:
        return datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        duration_s = parse_quantity(text, SECONDS)
    if duration_s is None or not 0 <= duration_s <= _MAX_DURATION_S:
        return None
    return datetime.fromtimestamp(now_us() / 1e6, UTC) + direction * timedelta(seconds=duration_s)


def time_us(time: datetime | None) -> int | None:
    """Convert a time to microseconds since the epoch."""
    return None if time is None else int(time.timestamp() * 1e6)
