"""Times as option values: an ISO 8601 time, or a duration from now or before now."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from worker.util.moments import MOMENT, parse_moment


class _Time(click.ParamType[datetime]):
    """Time with a zone; a duration such as 10m counts in ``direction`` from now."""

    name = "time"
    direction = 1

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return the time. Fails with the two forms that are accepted."""
        # The client's clock decides: a request that is repeated keeps its time.
        time = value if isinstance(value, datetime) else parse_moment(value, self.direction)
        if time is None:
            self.fail(f"expected {MOMENT}, found '{value}'", param, ctx)
        return time


class FutureTime(_Time):
    """Time; a duration is one from now on."""


class PastTime(_Time):
    """Time; a duration is how long ago it was."""

    direction = -1
