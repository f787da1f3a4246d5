"""View model of the page of a run: steps, log and dataclips."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.fleet.client import Client, ControlError
from worker.fleet.monitor.decode import events_from_reply
from worker.util.machine_clock import now_us
from worker.view.dashboard.log_lines import log_line
from worker.view.dashboard.run_graph import status_of_step

# The last events of a run form its log; the page appends new ones.
LOG_TAIL = 500
MAX_DATACLIP_CHARACTERS = 200_000
_CLIPS = {"output_dataclip": "Output", "final_state": "Final state"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionRow:
    """Row of an execution.

    ``left`` and ``width`` are its position on the time axis, in percent. ``input`` and ``output``
    are the sequence numbers of the events with the dataclips.
    """

    step: str
    name: str
    turn: int
    status: str
    started: int
    duration: int | None
    mem: int
    left: float
    width: float
    error_type: str
    error_message: str
    next: tuple[str, ...]
    input: int | None
    output: int | None
    withheld: bool


def execution_rows(run: Mapping[str, Any]) -> list[ExecutionRow]:
    """Build the rows of all executions, in order."""
    steps = run["steps"]
    names = _names(run["plan"])
    seq_of_dataclip = {
        step["output_dataclip_id"]: step["completed_seq"]
        for step in steps
        if step.get("output_dataclip_id")
    }
    begin = min((step["started"] for step in steps), default=0)
    end = max((_end(step) for step in steps), default=0)
    span = max(1, end - begin)
    return [_row(step, names, seq_of_dataclip, begin, span) for step in steps]


def _row(
    step: Mapping[str, Any],
    names: Mapping[str, str],
    seq_of_dataclip: Mapping[str, int],
    begin: int,
    span: int,
) -> ExecutionRow:
    left = 100 * (step["started"] - begin) / span
    return ExecutionRow(
        step=step["job_id"],
        name=names.get(step["job_id"]) or step["job_id"],
        turn=(step.get("execution") or 0) + 1,
        status=status_of_step(step),
        started=step["started"],
        duration=step.get("duration"),
        mem=step.get("mem") or 0,
        # A short step at the end must still be visible.
        left=round(min(left, 99.0), 2),
        width=round(max(1.0, 100 * (_end(step) - step["started"]) / span), 2),
        error_type=step.get("error_type") or "",
        error_message=step.get("error_message") or "",
        next=tuple(step.get("next") or ()),
        input=seq_of_dataclip.get(step.get("input_dataclip_id") or ""),
        output=seq_of_dataclip.get(step.get("output_dataclip_id") or ""),
        withheld=bool(step.get("withheld")),
    )


def _end(step: Mapping[str, Any]) -> int:
    """Return the end of an execution in microseconds, or the current time while it runs."""
    if "reason" not in step:
        return max(int(step["started"]), now_us())
    return int(step["started"] + (step.get("duration") or 0))


def _names(plan: Mapping[str, Any]) -> dict[str, str]:
    steps = plan.get("workflow", {}).get("steps", [])
    return {step.get("id"): step.get("name") or "" for step in steps}


async def recent_log_lines(client: Client, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Fetch the last lines of a run's log."""
    after = max(-1, run["reported"] - LOG_TAIL)
    events = await client.events(run["run_id"], after=after, limit=LOG_TAIL)
    return [line for event in events_from_reply(events) if (line := log_line(event)) is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataclipView:
    """Dataclip as text; ``cut`` is the number of characters that are not shown."""

    title: str
    step: str
    text: str
    cut: int


async def load_dataclip(client: Client, run_id: str, seq: int) -> DataclipView:
    """Fetch the dataclip of an event. Raises :class:`ControlError` where it has none."""
    events = await client.events(run_id, after=seq - 1, clips=True, limit=1)
    for event in events:
        for name, title in _CLIPS.items():
            if event["seq"] == seq and name in event:
                text = json.dumps(event[name], indent=2, ensure_ascii=False)
                return DataclipView(
                    title=title,
                    step=event.get("job_id") or "",
                    text=text[:MAX_DATACLIP_CHARACTERS],
                    cut=max(0, len(text) - MAX_DATACLIP_CHARACTERS),
                )
    raise ControlError("unknown", f"event {seq} of run {run_id} has no dataclip")
