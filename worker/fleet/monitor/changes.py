"""What becomes of runs, as lines: for people, and as JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from worker.core.status import STATUSES, Status
from worker.fleet.client import News
from worker.fleet.messaging import messages as wire
from worker.sinks.terminal_text import format_duration, format_time_of_day, one_line
from worker.util.json import dumps


def line_of(news: News) -> str:
    """A line for a change of a run's status, and for an order that was rejected; else nothing."""
    match news:
        case wire.RunState():
            return " ".join(filter(None, _run(news)))
        case wire.OrderState():
            sign = STATUSES[Status(news.status)].mark
            why = one_line(news.reason or "", 200)
            what = f"{sign} {news.status:<9} {one_line(news.workflow, 60)}"
            return (
                f"{format_time_of_day(news.created)} {what} order {news.order_id}  {why}".rstrip()
            )
        case _:
            return ""


def _run(state: wire.RunState) -> list[str]:
    at = state.finished or state.started or state.created
    took = ""
    if state.started and state.finished:
        took = f" in {format_duration(state.finished - state.started)}"
    why = f" {state.error_type}: {one_line(state.error_message or '', 200)}"
    return [
        format_time_of_day(at),
        STATUSES[Status(state.status)].mark,
        f"{state.status:<9}",
        one_line(state.workflow, 60),
        f"run {state.run_id}",
        f"on {state.worker}{took}" if state.worker else "",
        why if state.error_type else "",
    ]


def json_of(news: News) -> str:
    """An object: ``type`` is run, order or alert, and the rest is what was said."""
    match news:
        case wire.RunState():
            return _object("run", news)
        case wire.OrderState():
            return _object("order", news)
        case wire.Alert():
            return _object("alert", news)
        case _:
            return ""


def _object(type: str, news: wire.Payload) -> str:
    fields: Mapping[str, Any] = msgspec.to_builtins(news)
    return dumps({"type": type, **fields})
