"""Shorthands for workflows of few steps, their runs and their events."""

from __future__ import annotations

from typing import Any

import worker
from worker.core.events import RunComplete, RunLog, StepComplete, StepStart
from worker.runner.result import Result

COMMON = "@openfn/language-common@3.3.4"


def workflow(*steps: dict[str, Any], **options: Any) -> worker.Workflow:
    """A workflow of these steps, as an execution plan."""
    return worker.load({"options": options, "workflow": {"name": "test", "steps": list(steps)}})


def job(source: str, id: str = "a", **fields: Any) -> dict[str, Any]:
    """A step with the common adaptor."""
    return {"id": id, "adaptor": COMMON, "expression": source, **fields}


def run_job(source: str, input: dict[str, Any] | None = None, **options: Any) -> Result:
    """Run a workflow of one JavaScript step."""
    result = worker.run(workflow(job(source)), input or {}, **options)
    check_events(result)
    return result


def logs(result: Result) -> list[str]:
    """The text of what the run's jobs logged."""
    return [e.message for e in result.events if isinstance(e, RunLog) and e.source == "JOB"]


def check_events(result: Result) -> None:
    """Exactly one ``run:complete``, always last; ``seq`` without a gap; every step completed."""
    events = result.events
    assert [event.seq for event in events] == list(range(len(events)))
    assert [type(event) is RunComplete for event in events].index(True) == len(events) - 1
    started = [event.step_id for event in events if isinstance(event, StepStart)]
    completed = [event.step_id for event in events if isinstance(event, StepComplete)]
    assert started == completed
