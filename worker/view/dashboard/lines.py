"""The log of a run, line by line, as pages show it."""

from __future__ import annotations

from typing import Any

from worker.core.events import AnyEvent, RunComplete, RunLog, StepComplete, StepStart
from worker.core.status import STATUS_OF_REASON
from worker.sinks.run_summary import status_mark
from worker.sinks.terminal_text import format_duration, format_time_of_day, one_line, printable

LONGEST = 8000
_LEVELS = ("debug", "info", "warn", "error")


def line_of(fact: AnyEvent) -> dict[str, Any] | None:
    """A line for what was logged, and for the beginning and the end of steps and of the run.
    ``seq`` tells it from all others of the run; ``level`` is one of a log's, or ``step``."""
    match fact:
        case RunLog():
            level = fact.level if fact.level in _LEVELS else "info"
            return _line(fact, fact.job_id, level, fact.source, fact.message)
        case StepStart():
            return _line(fact, fact.job_id, "step", "▸", "begins")
        case StepComplete():
            return _line(fact, fact.job_id, "step", status_mark(fact.reason), _end(fact))
        case RunComplete():
            return _line(fact, "", "step", status_mark(fact.reason), f"run {_end(fact)}")
        case _:
            return None


def _end(fact: StepComplete | RunComplete) -> str:
    why = f": {fact.error_type}: {fact.error_message or ''}" if fact.error_type else ""
    return f"{STATUS_OF_REASON[fact.reason]} in {format_duration(fact.duration)}{why}"


def _line(fact: AnyEvent, step: str, level: str, source: str, text: str) -> dict[str, Any]:
    whole = printable(text)
    more = f"… ({len(whole) - LONGEST:,} more characters)" if len(whole) > LONGEST else ""
    return {
        "seq": fact.seq,
        "at": format_time_of_day(fact.timestamp),
        "step": one_line(step, 60),
        "level": level,
        "source": one_line(source, 8),
        "text": whole[:LONGEST] + more,
    }
