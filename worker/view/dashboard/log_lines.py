"""Lines of a run's log, as pages show them."""

from __future__ import annotations

from typing import Any

from worker.core.status import STATUS_OF_REASON, STATUSES, Status
from worker.fleet.messaging import messages as wire
from worker.sinks.terminal_text import clock, one_line, printable, seconds

# A job may log megabytes in a line; a browser holds thousands of lines.
MAX_TEXT = 8000
# The level becomes a CSS class, and comes from a job: others become info.
_LEVELS = ("debug", "info", "warn", "error")


def log_line(event: wire.ReportedEvent) -> dict[str, Any] | None:
    """Format a log event, or the start or end of a step or run; None for other events.

    ``seq`` identifies the line within the run. ``level`` is a log level, or ``step``.
    """
    match event.type:
        case "run:log":
            level = event.level if event.level in _LEVELS else "info"
            return _line(event, level or "info", event.source or "", event.message or "")
        case "step:start":
            return _line(event, "step", "▸", "started")
        case "step:complete" | "run:complete":
            status = STATUS_OF_REASON[event.reason] if event.reason else Status.EXCEPTION
            return _line(event, "step", STATUSES[status].mark, _end(event, status))
        case _:
            return None


def _end(event: wire.ReportedEvent, status: Status) -> str:
    subject = "run " if event.type == "run:complete" else ""
    reason = f": {event.error_type}: {event.error_message or ''}" if event.error_type else ""
    return f"{subject}{status} in {seconds(event.duration or 0)}{reason}"


def _line(event: wire.ReportedEvent, level: str, source: str, text: str) -> dict[str, Any]:
    whole = printable(text)
    more = f"… ({len(whole) - MAX_TEXT:,} more characters)" if len(whole) > MAX_TEXT else ""
    return {
        "seq": event.seq,
        "at": clock(event.timestamp),
        "step": one_line(event.job_id or "", 60),
        "level": level,
        "source": one_line(source, 8),
        "text": whole[:MAX_TEXT] + more,
    }
