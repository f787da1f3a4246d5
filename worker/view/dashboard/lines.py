"""The log of a run, line by line, as pages show it."""

from __future__ import annotations

from typing import Any

from worker.core.status import STATUS_OF_REASON, STATUSES, Status
from worker.fleet.messaging import messages as wire
from worker.sinks.terminal_text import clock, one_line, printable, seconds

LONGEST = 8000
_LEVELS = ("debug", "info", "warn", "error")


def line_of(fact: wire.ReportedEvent) -> dict[str, Any] | None:
    """A line for what was logged, and for the beginning and the end of steps and of the run.
    ``seq`` tells it from all others of the run; ``level`` is one of a log's, or ``step``."""
    match fact.type:
        case "run:log":
            level = fact.level if fact.level in _LEVELS else "info"
            return _line(fact, level or "info", fact.source or "", fact.message or "")
        case "step:start":
            return _line(fact, "step", "▸", "begins")
        case "step:complete" | "run:complete":
            status = STATUS_OF_REASON[fact.reason] if fact.reason else Status.EXCEPTION
            return _line(fact, "step", STATUSES[status].mark, _end(fact, status))
        case _:
            return None


def _end(fact: wire.ReportedEvent, status: Status) -> str:
    whose = "run " if fact.type == "run:complete" else ""
    why = f": {fact.error_type}: {fact.error_message or ''}" if fact.error_type else ""
    return f"{whose}{status} in {seconds(fact.duration or 0)}{why}"


def _line(fact: wire.ReportedEvent, level: str, source: str, text: str) -> dict[str, Any]:
    whole = printable(text)
    more = f"… ({len(whole) - LONGEST:,} more characters)" if len(whole) > LONGEST else ""
    return {
        "seq": fact.seq,
        "at": clock(fact.timestamp),
        "step": one_line(fact.job_id or "", 60),
        "level": level,
        "source": one_line(source, 8),
        "text": whole[:LONGEST] + more,
    }
