"""Notifications as lines of text, and as JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from worker.core.status import STATUSES, Status
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.state_messages import Alert, OrderState, RunState
from worker.fleet.notifications import Notification
from worker.sinks.terminal_text import format_duration, format_time_of_day, one_line
from worker.util.json import dumps


def format_line(notification: Notification) -> str:
    """Format a change of a run's status, or a rejected order; empty for other notifications."""
    match notification:
        case RunState():
            return " ".join(filter(None, _run(notification)))
        # The states of other orders are those of their runs.
        case OrderState(last_run=None):
            symbol = STATUSES[Status(notification.status)].mark
            reason = one_line(notification.reason or "", 200)
            workflow = one_line(notification.workflow, 60)
            time = format_time_of_day(notification.created)
            summary = f"{time} {symbol} {notification.status:<9} {workflow}"
            return f"{summary} order {notification.order_id}  {reason}".rstrip()
        case _:
            return ""


def _run(state: RunState) -> list[str]:
    # The time of the change itself: notifications may arrive late.
    at = state.finished or state.started or state.created
    duration = ""
    if state.started and state.finished:
        duration = f" in {format_duration(state.finished - state.started)}"
    reason = f" {state.error_type}: {one_line(state.error_message or '', 200)}"
    return [
        format_time_of_day(at),
        STATUSES[Status(state.status)].mark,
        f"{state.status:<9}",
        one_line(state.workflow, 60),
        f"run {state.run_id}",
        f"on {state.worker}{duration}" if state.worker else "",
        reason if state.error_type else "",
    ]


def format_json(notification: Notification) -> str:
    """Format a notification as a JSON object; its ``type`` is run, order or alert."""
    match notification:
        case RunState():
            return _object("run", notification)
        case OrderState():
            return _object("order", notification)
        case Alert():
            return _object("alert", notification)
        case _:
            return ""


def _object(type: str, notification: wire.Payload) -> str:
    fields: Mapping[str, Any] = msgspec.to_builtins(notification)
    return dumps({"type": type, **fields})
