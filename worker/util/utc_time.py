"""Times of events in the calendar: microseconds since the epoch as dates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_US, _LAST_US = (
    (moment.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
    for moment in (datetime.min, datetime.max)
)


def utc_moment(time_us: int) -> datetime:
    """Convert microseconds since the epoch; a time beyond the years 1 to 9999 is the nearest."""
    # Clocks, journals and recordings of others may hold any integer.
    return _EPOCH + timedelta(microseconds=max(_FIRST_US, min(_LAST_US, time_us)))
