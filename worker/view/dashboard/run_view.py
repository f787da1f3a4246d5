"""View model of the page of a run: steps, log and dataclips."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from worker.core.events import StepComplete
from worker.core.status import STATUSES, Status
from worker.errors import LoadError
from worker.fleet.client import Client
from worker.fleet.control_errors import ControlError
from worker.fleet.monitor.decode import events_from_reply
from worker.sinks.terminal_text import escape_json
from worker.util.machine_clock import now_us
from worker.view.dashboard.log_lines import log_line
from worker.view.dashboard.run_graph import status_of_step
from worker.view.report.error_view import error_view
from worker.view.report.view_model import ErrorView
from worker.workflow.load import load

# The last events of a run form its log; the page appends new ones.
LOG_TAIL = 500
# Rows of executions on the page of a run; earlier ones are on pages of their own.
MAX_ROWS = 500
# A dataclip is shown in parts of this size.
PART_CHARACTERS = 200_000
# Errors whose place in the source is shown.
MAX_ERRORS = 5
# The event that starts a run stands for its input, which no event has.
INPUT_SEQ = 0
_CLIPS = {"output_dataclip": "Output", "final_state": "Final state"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionRow:
    """Row of an execution.

    ``left`` and ``width`` are its position on the time axis, in percent. ``input`` and ``output``
    are the sequence numbers of the events with the dataclips.
    """

    key: str
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
    completed: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows of executions ``first`` to ``last`` of ``total``, counted from 1.

    ``axis`` is the length of the time axis in microseconds. ``actions``: the run can be retried
    from a row. ``partial``: only what changed since a page was rendered.
    """

    rows: tuple[ExecutionRow, ...]
    total: int
    first: int
    last: int
    axis: int
    actions: bool = False
    partial: bool = False

    @property
    def seen(self) -> str:
        """Position from which :func:`changed_rows` continues."""
        ended = (row.completed for row in self.rows if row.completed is not None)
        return f"{self.last}-{max(ended, default=0)}-{self.axis}-{int(self.actions)}"


def changed_rows(rows: Rows, seen: str) -> Rows:
    """Return the rows that started or ended since ``seen``; all where the time axis has changed."""
    try:
        last, completed, axis, actions = map(int, seen.split("-"))
    except ValueError:
        return rows
    if (axis, actions) != (rows.axis, rows.actions):
        return rows
    # A running step is sent each time: whether it had started is not in its number.
    fresh = [
        row
        for number, row in enumerate(rows.rows, start=rows.first)
        if number > last or row.completed is None or row.completed > completed
    ]
    return replace(rows, rows=tuple(fresh), partial=True)


def execution_rows(
    run: Mapping[str, Any], *, first: int | None = None, actions: bool = False
) -> Rows:
    """Build the rows of executions, in order: the last ones, or those from ``first`` on."""
    steps = run["steps"]
    names = _names(run["plan"])
    final = STATUSES[Status(run["status"])].final
    # The first step begins with the input of the run.
    seq_of_dataclip = {step.get("input_dataclip_id"): INPUT_SEQ for step in steps[:1]} | {
        step["output_dataclip_id"]: step["completed_seq"]
        for step in steps
        if step.get("output_dataclip_id")
    }
    begin = min((step["started"] for step in steps), default=0)
    # A step whose end nobody reported was running when the run ended.
    now = run["finished"] or begin if final else now_us()
    end = max((_end(step, now) for step in steps), default=0)
    axis = max(1, end - begin) if final else _growing_axis(end - begin)
    skipped = max(0, len(steps) - MAX_ROWS if first is None else min(first, len(steps)) - 1)
    selected = steps[skipped : skipped + MAX_ROWS]
    lost = Status(run["status"]) if final else None
    return Rows(
        rows=tuple(
            _row(step, names, seq_of_dataclip, now, lost, begin=begin, span=axis)
            for step in selected
        ),
        total=len(steps),
        first=skipped + 1,
        last=skipped + len(selected),
        axis=axis,
        actions=actions,
    )


def _growing_axis(span: int) -> int:
    # It doubles: each row that is already shown keeps its place for long.
    return 1 << max(20, span.bit_length())


def _row(
    step: Mapping[str, Any],
    names: Mapping[str, str],
    seq_of_dataclip: Mapping[str, int],
    now: int,
    run_ended: Status | None,
    *,
    begin: int,
    span: int,
) -> ExecutionRow:
    is_open = "reason" not in step
    left = 100 * (step["started"] - begin) / span
    return ExecutionRow(
        key=step["step_id"],
        step=step["job_id"],
        name=names.get(step["job_id"]) or step["job_id"],
        turn=(step.get("execution") or 0) + 1,
        # No step runs on in a run that has ended.
        status=str(run_ended if is_open and run_ended else status_of_step(step)),
        started=step["started"],
        duration=_end(step, now) - step["started"]
        if is_open and run_ended
        else step.get("duration"),
        mem=step.get("mem") or 0,
        # A short step at the end must still be visible.
        left=round(min(left, 99.0), 2),
        width=round(max(1.0, 100 * (_end(step, now) - step["started"]) / span), 2),
        error_type=step.get("error_type") or "",
        error_message=step.get("error_message") or "",
        next=tuple(step.get("next") or ()),
        input=seq_of_dataclip.get(step.get("input_dataclip_id") or ""),
        output=seq_of_dataclip.get(step.get("output_dataclip_id") or ""),
        withheld=bool(step.get("withheld")),
        completed=step.get("completed_seq"),
    )


def _end(step: Mapping[str, Any], now: int) -> int:
    """Return the end of an execution in microseconds, or ``now`` where none is reported."""
    if "reason" not in step:
        return max(int(step["started"]), now)
    return int(step["started"] + (step.get("duration") or 0))


def _names(plan: Mapping[str, Any]) -> dict[str, str]:
    steps = plan.get("workflow", {}).get("steps", [])
    return {step.get("id"): step.get("name") or "" for step in steps}


async def recent_log_lines(client: Client, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Fetch the last lines of a run's log."""
    after = max(-1, run["reported"] - LOG_TAIL)
    events = await client.events(run["run_id"], after=after, limit=LOG_TAIL)
    return [line for event in events_from_reply(events) if (line := log_line(event)) is not None]


async def load_errors(client: Client, run: Mapping[str, Any], rows: Rows) -> dict[str, ErrorView]:
    """Fetch the errors of failed executions, with their places in the source, by key of the row."""
    failed = [row for row in rows.rows if row.error_type and row.completed is not None]
    events = await asyncio.gather(
        *(
            client.events(run["run_id"], after=(row.completed or 0) - 1, limit=1)
            for row in failed[-MAX_ERRORS:]
        )
    )
    try:
        steps = {step.id: step for step in load(run["plan"]).steps}
    except LoadError:
        steps = {}
    return {
        event.step_id: error_view(event.error, steps.get(event.job_id))
        for batch in events
        for event in events_from_reply(batch)
        if isinstance(event, StepComplete) and event.error is not None
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class DataclipText:
    """Dataclip as JSON text."""

    title: str
    step: str
    text: str

    @property
    def parts(self) -> int:
        return max(1, -(-len(self.text) // PART_CHARACTERS))

    def part(self, number: int) -> str:
        """Return a part of the text, counted from 1."""
        return self.text[(number - 1) * PART_CHARACTERS : number * PART_CHARACTERS]


async def load_dataclip(client: Client, run_id: str, seq: int) -> DataclipText:
    """Fetch the dataclip of an event, or the input of the run for its first event.

    Raises :class:`ControlError` where the event has none.
    """
    if seq == INPUT_SEQ:
        return DataclipText(title="Input", step="", text=json_text(await client.input(run_id)))
    events = await client.events(run_id, after=seq - 1, clips=True, limit=1)
    for event in events:
        for name, title in _CLIPS.items():
            if event["seq"] == seq and name in event:
                text = json_text(event[name])
                return DataclipText(title=title, step=event.get("job_id") or "", text=text)
    raise ControlError("unknown", f"event {seq} of run {run_id} has no dataclip")


def json_text(value: Any) -> str:
    """Write JSON for people to read and to copy: without unsafe characters, and still exact."""
    return escape_json(json.dumps(value, indent=2, ensure_ascii=False))
