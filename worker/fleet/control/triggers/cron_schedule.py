"""Ticks of schedules, and which of them fire after a pause. Pure: times come in, in microseconds.

Daylight saving follows Debian's cron, as the library does: a time that does not exist on a day
fires right after the change, a time that exists twice fires the first time, and a schedule of
every hour or minute goes on through both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from worker.fleet.messaging.trigger_messages import CronTrigger
from worker.workflow.documents.data import shorten

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A restart of a control plane takes seconds: a tick during one is late, and not missed.
GRACE_US = 60_000_000
# A year of minutes in one transaction would block everything else; the next transaction goes on.
MAX_TICKS = 100
_WORDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


# Files beside the zones of IANA: each machine has others, and control planes would differ.
_LOCAL_ZONES = ("localtime", "posixrules", "Factory")


class ScheduleError(ValueError):
    """An expression or a time zone that is no schedule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DueTicks:
    """The ticks to fire, in order, whether others were missed, and the next tick if any."""

    fire: tuple[int, ...]
    missed: bool
    next_us: int | None


def check_schedule(expression: str, timezone: str) -> None:
    """Check a schedule. Raises :class:`ScheduleError`."""
    fields = _WORDS.get(expression, expression).split()
    if expression.lstrip().startswith("@") and expression not in _WORDS:
        known = ", ".join(_WORDS)
        raise ScheduleError(f"unknown schedule '{expression}' (expected one of {known})")
    # The library accepts a field of seconds, which OpenFn does not have.
    if len(fields) != 5:
        raise ScheduleError(f"'{shorten(expression)}' has {len(fields)} fields instead of 5")
    try:
        CronSim(" ".join(fields), _EPOCH)
    except CronSimError as error:
        raise ScheduleError(f"'{shorten(expression)}' is not a schedule: {error}") from error
    try:
        if timezone in _LOCAL_ZONES or timezone.startswith(("posix/", "right/")):
            raise KeyError(timezone)
        ZoneInfo(timezone)
    # A key that leads out of the folder is a ValueError, an unknown one a KeyError.
    except (KeyError, ValueError, OSError) as error:
        raise ScheduleError(
            f"unknown time zone '{shorten(timezone)}' (expected one of IANA's)"
        ) from error


def next_tick(trigger: CronTrigger, after_us: int) -> int | None:
    """Return the first tick after a time; ``None`` where there is none in fifty years."""
    return next(_ticks_after(trigger, after_us), None)


def due_ticks(trigger: CronTrigger, next_us: int, now_us: int) -> DueTicks:
    """Decide which ticks from ``next_us`` up to now fire."""
    missed = next_us < now_us - GRACE_US
    first_us = next_us if trigger.catch_up == "all" else max(next_us, now_us - GRACE_US)
    ticks = [*islice(_ticks_after(trigger, first_us - 1), MAX_TICKS + 1)]
    fire = [tick for tick in ticks[:MAX_TICKS] if tick <= now_us]
    if missed and not fire and trigger.catch_up == "one":
        fire = [_last_tick(trigger, next_us, now_us)]
    following = ticks[len(fire)] if trigger.catch_up == "all" and len(ticks) > len(fire) else None
    if following is None:
        following = next_tick(trigger, now_us)
    return DueTicks(
        fire=tuple(fire), missed=missed and trigger.catch_up != "all", next_us=following
    )


def _ticks_after(trigger: CronTrigger, after_us: int) -> Iterator[int]:
    ticks = CronSim(_expression(trigger), _local(trigger, after_us))
    last_us = after_us
    for tick in ticks:
        tick_us = (tick - _EPOCH) // timedelta(microseconds=1)
        # From the second of two equal hours, the library returns to the first.
        if tick_us > last_us:
            yield tick_us
            last_us = tick_us


def _last_tick(trigger: CronTrigger, earliest_us: int, now_us: int) -> int:
    """Return the last tick up to now; ``earliest_us`` is one that is known."""
    # A second more, as the library returns what is before its start.
    ticks = CronSim(_expression(trigger), _local(trigger, now_us + 1_000_000), reverse=True)
    for tick in islice(ticks, MAX_TICKS):
        tick_us = (tick - _EPOCH) // timedelta(microseconds=1)
        if earliest_us <= tick_us <= now_us:
            return tick_us
    return earliest_us


def _expression(trigger: CronTrigger) -> str:
    return _WORDS.get(trigger.expression, trigger.expression)


def _local(trigger: CronTrigger, time_us: int) -> datetime:
    return (_EPOCH + timedelta(seconds=time_us // 1_000_000)).astimezone(ZoneInfo(trigger.timezone))
