"""Lines of a run's log, as pages show them."""

from __future__ import annotations

from typing import Any

from worker.core.events import AnyEvent, RunComplete, RunLog, StepComplete, StepStart
from worker.core.status import STATUS_OF_REASON
from worker.sinks.run_summary import status_mark
from worker.sinks.terminal_text import (
    format_duration,
    format_time_of_day,
    one_line,
    printable_lines,
)

# A job may log megabytes in a line; a browser holds thousands of lines.
MAX_TEXT = 8000
# The level becomes a CSS class, and comes from a job: others become info.
LEVELS = ("debug", "info", "warn", "error")


def log_line(event: AnyEvent) -> dict[str, Any] | None:
    """Format a log event, or the start or end of a step or run; None for other events.

    ``seq`` identifies the line within the run. ``level`` is a log level, or ``step``.
    """
    match event:
        case RunLog():
            level = event.level if event.level in LEVELS else "info"
            return _line(event, event.job_id, level, event.source, event.message)
        case StepStart():
            return _line(event, event.job_id, "step", "▸", "started")
        case StepComplete():
            return _line(event, event.job_id, "step", status_mark(event.reason), _end(event))
        case RunComplete():
            return _line(event, "", "step", status_mark(event.reason), f"run {_end(event)}")
        case _:
            return None


def _end(event: StepComplete | RunComplete) -> str:
    reason = f": {event.error_type}: {event.error_message or ''}" if event.error_type else ""
    return f"{STATUS_OF_REASON[event.reason]} in {format_duration(event.duration)}{reason}"


def _line(event: AnyEvent, step: str, level: str, source: str, text: str) -> dict[str, Any]:
    whole = printable_lines(text)
    more = f"… ({len(whole) - MAX_TEXT:,} more characters)" if len(whole) > MAX_TEXT else ""
    return {
        "seq": event.seq,
        "at": format_time_of_day(event.timestamp),
        "step": one_line(step, 60),
        "level": level,
        "source": one_line(source, 8),
        "text": whole[:MAX_TEXT] + more,
    }
