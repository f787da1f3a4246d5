"""Profile of a run as a speedscope file: the steps by their instructions and by their time.

The format is that of https://www.speedscope.app/file-format-schema.json.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from worker.core.events import cost_of
from worker.version import VERSION
from worker.view.report.executions import ReportedExecution, executions_of
from worker.view.report.report_source import ReportSource

SCHEMA = "https://www.speedscope.app/file-format-schema.json"

_RUN = 0
"""Frame of the run, around those of its steps."""


def build_profile(source: ReportSource) -> dict[str, Any]:
    """Return the profile of a run as JSON data.

    Without costs, the profile of the time stands alone.
    """
    executions = executions_of(source.events, has_frozen_clock=source.has_frozen_clock)
    files = {step.id: step.source_file for step in source.workflow.steps}
    steps = dict.fromkeys(execution.step for execution in executions)
    frames = {id: number for number, id in enumerate(steps, start=1)}
    return {
        "$schema": SCHEMA,
        "exporter": f"worker {VERSION}",
        "name": source.name,
        "activeProfileIndex": 0,
        "shared": {
            "frames": [
                {"name": source.workflow.name or "run"},
                *({"name": id, **_file(files.get(id, ""))} for id in frames),
            ]
        },
        "profiles": [*_costs(source, executions, frames), _times(source, executions, frames)],
    }


def _file(name: str) -> dict[str, str]:
    return {"file": name} if name else {}


def _costs(
    source: ReportSource, executions: Sequence[ReportedExecution], frames: dict[str, int]
) -> Iterator[dict[str, Any]]:
    ends = [execution.complete for execution in executions if execution.complete is not None]
    costs = [cost_of(end) or 0 for end in ends]
    total = 0 if source.end is None else cost_of(source.end) or 0
    if not (total or any(costs)):
        return
    # One after the other, as if steps followed each other at once: instructions have no clock.
    spans, at = [], 0
    for end, cost in zip(ends, costs, strict=True):
        spans.append((frames[end.job_id], at, at + cost))
        at += cost
    yield _profile("instructions", "none", spans, max(total, at))


def _times(
    source: ReportSource, executions: Sequence[ReportedExecution], frames: dict[str, int]
) -> dict[str, Any]:
    began_us = source.events[0].timestamp
    spans, end_us = [], 0
    for execution in executions:
        # A clock that was set back would have a frame begin before the last one ended.
        start_us = max(end_us, execution.started.timestamp - began_us)
        end_us = start_us + max(0, execution.spent)
        spans.append((frames[execution.step], start_us, end_us))
    total_us = max(end_us, source.events[-1].timestamp - began_us)
    return _profile("time", "microseconds", spans, total_us)


def _profile(
    name: str, unit: str, spans: Sequence[tuple[int, int, int]], total: int
) -> dict[str, Any]:
    events = [
        event
        for frame, start, end in spans
        for event in (_event("O", frame, start), _event("C", frame, end))
    ]
    return {
        "type": "evented",
        "name": name,
        "unit": unit,
        "startValue": 0,
        "endValue": total,
        "events": [_event("O", _RUN, 0), *events, _event("C", _RUN, total)],
    }


def _event(kind: str, frame: int, at: int) -> dict[str, Any]:
    return {"type": kind, "frame": frame, "at": at}
