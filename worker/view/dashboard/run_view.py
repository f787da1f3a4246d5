"""What the page of a run shows of its steps, its log and its dataclips."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.fleet.client import Client, ControlError
from worker.fleet.monitor.decode import asked
from worker.view.dashboard.lines import line_of
from worker.view.dashboard.run_graph import status_of_step
from worker.view.dashboard.templating import now

TAIL = 500
"""How many of a run's last events are shown as its log; those that come are added."""
SHOWN = 200_000
_CLIPS = {"output_dataclip": "Output", "final_state": "Final state"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionRow:
    """An execution of a step. ``left`` and ``wide`` place it in the time of all steps, in
    percent; ``input`` and ``output`` are numbers of events that carry the dataclips."""

    step: str
    name: str
    turn: int
    status: str
    started: int
    duration: int | None
    mem: int
    left: float
    wide: float
    error_type: str
    error_message: str
    next: tuple[str, ...]
    input: int | None
    output: int | None
    withheld: bool


def rows_of(run: Mapping[str, Any]) -> list[ExecutionRow]:
    """The executions of a run's steps, in order."""
    steps = run["steps"]
    names = _names(run["plan"])
    carried = {
        step["output_dataclip_id"]: step["completed_seq"]
        for step in steps
        if step.get("output_dataclip_id")
    }
    begin = min((step["started"] for step in steps), default=0)
    end = max((_end(step) for step in steps), default=0)
    span = max(1, end - begin)
    return [_row(step, names, carried, begin, span) for step in steps]


def _row(
    step: Mapping[str, Any],
    names: Mapping[str, str],
    carried: Mapping[str, int],
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
        left=round(min(left, 99.0), 2),
        wide=round(max(1.0, 100 * (_end(step) - step["started"]) / span), 2),
        error_type=step.get("error_type") or "",
        error_message=step.get("error_message") or "",
        next=tuple(step.get("next") or ()),
        input=carried.get(step.get("input_dataclip_id") or ""),
        output=carried.get(step.get("output_dataclip_id") or ""),
        withheld=bool(step.get("withheld")),
    )


def _end(step: Mapping[str, Any]) -> int:
    """When an execution ended; that of one that goes is now."""
    if "reason" not in step:
        return max(int(step["started"]), now())
    return int(step["started"] + (step.get("duration") or 0))


def _names(plan: Mapping[str, Any]) -> dict[str, str]:
    steps = plan.get("workflow", {}).get("steps", [])
    return {step.get("id"): step.get("name") or "" for step in steps}


async def lines_of(client: Client, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The last lines of a run's log."""
    after = max(-1, run["reported"] - TAIL)
    events = await client.events(run["run_id"], after=after, limit=TAIL)
    return [line for fact in asked(events) if (line := line_of(fact)) is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataclipView:
    """A dataclip as text; ``cut`` is how many characters are not shown."""

    title: str
    step: str
    text: str
    cut: int


async def clip_of(client: Client, run_id: str, seq: int) -> DataclipView:
    """The dataclip of an event. Raises :class:`ControlError` where there is none."""
    events = await client.events(run_id, after=seq - 1, clips=True, limit=1)
    for event in events:
        for name, title in _CLIPS.items():
            if event["seq"] == seq and name in event:
                text = json.dumps(event[name], indent=2, ensure_ascii=False)
                return DataclipView(
                    title=title,
                    step=event.get("job_id") or "",
                    text=text[:SHOWN],
                    cut=max(0, len(text) - SHOWN),
                )
    raise ControlError("unknown", f"event {seq} of run {run_id} carries no dataclip")
