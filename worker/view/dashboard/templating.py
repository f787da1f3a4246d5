"""Templates, and how they say times, numbers and statuses. Nothing is markup but the templates."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jinja2
from markupsafe import Markup

from worker.core.status import STATUSES, Status
from worker.sinks.terminal_text import format_duration, format_time_of_day, one_line, printable
from worker.version import VERSION

_LAST = 253_402_300_799
"""The last second that has a date."""
_BARS = (180, 36)


def environment() -> jinja2.Environment:
    """Everything that a template shows is escaped, and has no control characters."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        finalize=_safe,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {
        "clock": format_time_of_day,
        "day": day,
        "iso": iso,
        "mark": mark,
        "line": one_line,
        "spent": spent,
        "number": number,
    }
    found.globals |= {"statuses": [str(one) for one in STATUSES], "version": VERSION, "now": now}
    return found


def _safe(value: Any) -> Any:
    if value is None:
        return ""
    return printable(value) if type(value) is str else value


def now() -> int:
    return time.time_ns() // 1000


def iso(microseconds: int) -> str:
    """For a ``time`` element."""
    whole = min(microseconds // 1_000_000, _LAST)
    return datetime.fromtimestamp(whole, UTC).isoformat().replace("+00:00", "Z")


def day(microseconds: int) -> str:
    """A date and a time in UTC."""
    return iso(microseconds).replace("T", " ").replace("Z", " UTC")


def mark(status: str) -> str:
    """The sign that tells a status apart without its colour."""
    return STATUSES[Status(status)].mark


def spent(microseconds: int | None) -> str:
    """A duration as people say it, hours included."""
    if microseconds is None:
        return ""
    whole = microseconds // 1_000_000
    if whole < 60:
        return format_duration(microseconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {whole % 60:02} s"


def number(value: int) -> str:
    return f"{value:,}"


def bars(counts: Iterable[int]) -> Markup:
    """Counts as a row of bars."""
    found = list(counts)
    across, down = _BARS
    most, step = max([*found, 1]), across / len(found)
    about = {"viewBox": f"0 0 {across} {down}", "class": "bars", "role": "img"}
    label = f"Runs that ended in each of the last {len(found)} seconds: at most {max(found)}"
    root = ET.Element("svg", {**about, "aria-label": label, "preserveAspectRatio": "none"})
    for index, count in enumerate(found):
        tall = max(1.0, down * count / most) if count else 1.0
        box = {"x": f"{index * step:g}", "y": f"{down - tall:g}", "height": f"{tall:g}"}
        kind = {} if count else {"class": "none"}
        ET.SubElement(root, "rect", {**box, "width": f"{step - 0.8:g}", **kind})
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704 (built as a tree)
