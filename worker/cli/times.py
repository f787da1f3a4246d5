"""Times as option values: an ISO 8601 time, or a duration from now or before now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import click

from worker.cli.value_types import SECONDS, NumberRange
from worker.util.machine_clock import now_us

_DURATION = NumberRange(min=0, max=10**9, units=SECONDS)


class _Time(click.ParamType[datetime]):
    """Time with a zone; a duration such as 10m counts in ``direction`` from now."""

    name = "time"
    direction = 1

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return the time. Fails with the two forms that are accepted."""
        if isinstance(value, datetime):
            return value
        try:
            return datetime.fromisoformat(value.strip()).astimezone(UTC)
        except (ValueError, OverflowError, OSError):
            return self._relative(value, param, ctx)

    def _relative(
        self, text: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        try:
            seconds = float(_DURATION.convert(text, param, ctx))
        except click.UsageError:
            expected = "a duration such as 10m, or a time such as 2027-01-31T08:00Z"
            self.fail(f"expected {expected}, found '{text}'", param, ctx)
        # The client's clock decides: a request that is repeated keeps its time.
        now = datetime.fromtimestamp(now_us() / 1e6, UTC)
        return now + self.direction * timedelta(seconds=seconds)


class FutureTime(_Time):
    """Time; a duration is one from now on."""


class PastTime(_Time):
    """Time; a duration is how long ago it was."""

    direction = -1


def time_us(time: datetime | None) -> int | None:
    """Convert a time to microseconds since the epoch."""
    return None if time is None else int(time.timestamp() * 1e6)
