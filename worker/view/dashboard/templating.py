"""Jinja environment, with filters for times, numbers and statuses."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jinja2
from markupsafe import Markup

from worker.core.status import STATUSES, Status
from worker.sinks.terminal_text import format_duration, format_time_of_day, one_line, printable
from worker.util.machine_clock import now_us
from worker.version import VERSION

# The last second that datetime supports: times come from workers.
_LAST_SECOND = 253_402_300_799
_CHART_SIZE = (180, 36)


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
    return printable(value) if type(value) is str else value


def iso(microseconds: int) -> str:
    """Format a time for a ``time`` element."""
    whole = min(microseconds // 1_000_000, _LAST_SECOND)
    return datetime.fromtimestamp(whole, UTC).isoformat().replace("+00:00", "Z")


def day(microseconds: int) -> str:
    """Format a date and a time in UTC."""
    return iso(microseconds).replace("T", " ").replace("Z", " UTC")


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


def bar_chart(counts: Iterable[int]) -> Markup:
    """Draw counts as a bar chart."""
    values = list(counts)
    width, height = _CHART_SIZE
    largest, step = max([*values, 1]), width / len(values)
    about = {"viewBox": f"0 0 {width} {height}", "class": "bars", "role": "img"}
    label = f"Runs ended per second in the last {len(values)} seconds: at most {max(values)}"
    root = ET.Element("svg", {**about, "aria-label": label, "preserveAspectRatio": "none"})
    for index, count in enumerate(values):
        bar = max(1.0, height * count / largest) if count else 1.0
        box = {"x": f"{index * step:g}", "y": f"{height - bar:g}", "height": f"{bar:g}"}
        kind = {} if count else {"class": "none"}
        ET.SubElement(root, "rect", {**box, "width": f"{step - 0.8:g}", **kind})
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704 (built as a tree)
