"""Jinja environment, with filters for times, numbers and statuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from worker.core.status import STATUSES, Status
from worker.sinks.terminal_text import (
    format_duration,
    format_time_of_day,
    one_line,
    printable_lines,
)
from worker.util.machine_clock import now_us
from worker.util.utc_time import utc_moment
from worker.version import VERSION


def create_environment() -> jinja2.Environment:
    """Create the environment: values are escaped and have no control characters."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        finalize=_safe,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "clock": format_time_of_day,
        "day": day,
        "iso": iso,
        "symbol": symbol,
        "line": one_line,
        "short": short_id,
        "duration": format_long_duration,
        "number": number,
    }
    environment.globals |= {
        "statuses": [str(status) for status in STATUSES],
        "version": VERSION,
        "now": now_us,
    }
    return environment


def _safe(value: Any) -> Any:
    if value is None:
        return ""
    return printable_lines(value) if type(value) is str else value


def iso(microseconds: int) -> str:
    """Format a time for a ``time`` element."""
    return utc_moment(microseconds).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def day(microseconds: int) -> str:
    """Format a date and a time in UTC."""
    return iso(microseconds).replace("T", " ").replace("Z", " UTC")


def short_id(id: str) -> str:
    """Shorten a generated id to what people compare; the command accepts it too."""
    return one_line(id, 24) if len(id) < 20 else printable_lines(id[:8])


def symbol(status: str) -> str:
    """Look up the symbol of a status."""
    return STATUSES[Status(status)].mark


def format_long_duration(microseconds: int | None) -> str:
    """Format a duration, with minutes and hours."""
    if microseconds is None:
        return ""
    whole = microseconds // 1_000_000
    if whole < 60:
        return format_duration(microseconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {whole % 60:02} s"


def number(value: int) -> str:
    return f"{value:,}"
