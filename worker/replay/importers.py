"""Runs that were recorded elsewhere, as recordings, as far as their content goes.

A Lightning run is one JSON object: the run as Lightning gives it to its worker (``jobs``,
``triggers``, ``edges``, ``starting_node_id``), with its ``steps`` (``job_id``, ``exit_reason``,
``error_type``, ``input_dataclip_id``, ``output_dataclip_id``, ``started_at``, ``finished_at``),
``dataclips`` (``id`` and ``body``) and ``logs`` (``step_id``, ``source``, ``level``, ``message``).
The CLI's cache is a folder of outputs, ``<step>.json``, of which the workflow tells the rest.

Neither knows the requests that steps made.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from worker.core.events import (
    AnyEvent,
    Dataclip,
    RunComplete,
    RunLog,
    RunStart,
    StepComplete,
    StepStart,
)
from worker.core.outcome import StepError
from worker.core.status import STATUS_OF_REASON
from worker.errors import LoadError, UsageError
from worker.replay.recording import Writer
from worker.replay.scrub import Scrubber
from worker.util.json import dumps
from worker.workflow.documents.cursor import Cursor
from worker.workflow.documents.document import read_document
from worker.workflow.load import load
from worker.workflow.model import Step, Workflow
from worker.workflow.save import fingerprint, to_execution_plan

_RUN_KEYS = (
    "id",
    "jobs",
    "triggers",
    "edges",
    "dataclip_id",
    "starting_node_id",
    "options",
    "name",
)
_LEVELS = ("debug", "info", "warn", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One execution, as it was seen elsewhere. Times are in microseconds since the epoch."""

    step: str
    reason: str
    error: StepError | None
    input: Any
    output: Any
    started: int
    finished: int
    logs: tuple[tuple[str, str, str], ...] = ()
    input_id: str = ""
    output_id: str = ""


def import_lightning(file: Path, folder: Path) -> Workflow:
    """Write the recording of a Lightning run. Raises :class:`LoadError` on anything else."""
    document = read_document(file, located=True)
    node = Cursor(document, document.root).mapping()
    if not node.has("jobs") or not node.has("steps"):
        node.fail("expected a Lightning run with its steps (jobs, triggers, edges, steps)")
    workflow = load({key: node.value[key] for key in _RUN_KEYS if node.has(key)})
    clips = {one.at("id").name(): one.at("body").value for one in node.at("dataclips").elements()}
    jobs = {step.id for step in workflow.steps}
    seen = sorted(_lightning_steps(node, clips, jobs), key=lambda one: one.started)
    input = clips.get(node.at("dataclip_id").name(""), seen[0].input if seen else {})
    run_id = node.at("id").name(str(uuid.uuid4()))
    _write(folder, workflow, run_id, input, seen, "lightning")
    return workflow


def _lightning_steps(
    node: Cursor, clips: Mapping[str, Any], jobs: Collection[str]
) -> Iterator[Seen]:
    logs: dict[str, list[tuple[str, str, str]]] = {}
    for one in node.at("logs").elements():
        level = one.at("level").name("info")
        line = (one.at("source").name("JOB"), level if level in _LEVELS else "info")
        logs.setdefault(one.at("step_id").name(""), []).append((*line, one.at("message").text("")))
    for one in node.at("steps").elements():
        reason = one.at("exit_reason").name("success")
        if reason not in STATUS_OF_REASON:
            one.at("exit_reason").fail(f"expected one of {', '.join(STATUS_OF_REASON)}")
        type = one.at("error_type").name("JobError")
        message = one.at("error_message").text("")
        job, output = one.at("job_id").name(), one.at("output_dataclip_id").name("")
        if job not in jobs:
            one.at("job_id").fail(f"the run has no job '{job[:80]}'")
        yield Seen(
            step=job,
            reason=reason,
            error=StepError(type=type or "JobError", message=message)
            if reason != "success"
            else None,
            input=clips.get(one.at("input_dataclip_id").name("")),
            output=clips.get(output),
            started=_moment(one.at("started_at")),
            finished=_moment(one.at("finished_at")),
            logs=tuple(logs.get(one.at("id").name(""), ())),
            input_id=one.at("input_dataclip_id").name(""),
            output_id=output,
        )


def _moment(node: Cursor) -> int:
    if node.value is None:
        return 0
    try:
        found = datetime.fromisoformat(node.text())
    except ValueError:
        node.fail("expected a date and time in ISO 8601")
    aware = found if found.tzinfo else found.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1e6)


def import_cache(cache: Path, workflow_file: Path, pick: str | None, folder: Path) -> Workflow:
    """Write the recording of a run whose outputs the CLI kept (``.cli-cache/<workflow>``)."""
    workflow = load(workflow_file, workflow=pick)
    outputs = {step.id: _cached(cache / f"{step.id}.json") for step in workflow.steps}
    seen = list(_walk(workflow, {id: one for id, one in outputs.items() if one is not None}))
    if not seen:
        raise UsageError(f"{cache} has no output of a step of this workflow")
    _write(folder, workflow, str(uuid.uuid4()), {}, seen, "cli")
    return workflow


def _cached(file: Path) -> Any:
    if not file.is_file():
        return None
    try:
        return json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise LoadError(f"not JSON: {error}", file=str(file)) from error


def _walk(workflow: Workflow, outputs: Mapping[str, Any]) -> Iterator[Seen]:
    """The steps that have an output, from the start, as the graph leads to them."""
    steps = {step.id: step for step in workflow.steps}
    waiting: list[tuple[str, Any, str]] = [(workflow.start or workflow.steps[0].id, {}, "input")]
    visited: set[str] = set()
    while waiting:
        id, input, input_id = waiting.pop(0)
        step = steps[id]
        if id in visited or (step.runs_code and id not in outputs):
            continue
        visited.add(id)
        output, output_id = (outputs[id], f"output-{id}") if step.runs_code else (input, input_id)
        if step.runs_code:
            error = _cached_error(step, output)
            yield Seen(
                step=id,
                reason="fail" if error else "success",
                error=error,
                input=input,
                output=output,
                started=0,
                finished=0,
                input_id=input_id,
                output_id=output_id,
            )
        waiting += [(edge.target, output, output_id) for edge in step.open_edges]


def _cached_error(step: Step, output: Any) -> StepError | None:
    errors = output.get("errors") if isinstance(output, dict) else None
    entry = errors.get(step.id) if isinstance(errors, dict) else None
    if not isinstance(entry, dict):
        return None
    return StepError(type="JobError", message=str(entry.get("message", "")))


# --- writing --------------------------------------------------------------------------------------


def _write(
    folder: Path, workflow: Workflow, run_id: str, input: Any, seen: Sequence[Seen], origin: str
) -> None:
    writer = Writer(folder, Scrubber().json)
    header = {
        "run_id": run_id,
        "workflow": workflow.name,
        "fingerprint": fingerprint(workflow),
        "limits": {},
        "origin": origin,
    }
    text = dumps(input if isinstance(input, dict) else {})
    writer.begin(header, to_execution_plan(workflow), text)
    for event in _events(workflow, run_id, seen):
        writer.receive(event)
    writer.close()


def _events(workflow: Workflow, run_id: str, seen: Sequence[Seen]) -> Iterator[AnyEvent]:
    began = seen[0].started if seen else 0
    yield RunStart(run_id=run_id, seq=0, timestamp=began, workflow=workflow.name, versions={})
    seq, counts = 1, dict[str, int]()
    for number, one in enumerate(seen):
        execution = counts[one.step] = counts.get(one.step, -1) + 1
        after = [other.step for other in seen if one.output_id and other.input_id == one.output_id]
        for event in _step(run_id, seq, one, execution, str(number), tuple(after)):
            yield event
            seq += 1
    yield _end(workflow, run_id, seq, seen)


def _step(
    run_id: str, seq: int, one: Seen, execution: int, id: str, next: tuple[str, ...]
) -> Iterator[AnyEvent]:
    yield StepStart(
        run_id=run_id,
        seq=seq,
        timestamp=one.started,
        step_id=id,
        job_id=one.step,
        job_name=one.step,
        input_dataclip_id=one.input_id,
        execution=execution,
    )
    for source, level, message in one.logs:
        seq += 1
        yield RunLog(
            run_id=run_id,
            seq=seq,
            timestamp=one.started,
            source=source,
            level=level,
            message=message,
            step_id=id,
            job_id=one.step,
        )
    yield StepComplete(
        run_id=run_id,
        seq=seq + 1,
        timestamp=one.finished,
        step_id=id,
        job_id=one.step,
        reason=one.reason,
        error=one.error,
        output_dataclip_id=one.output_id or None,
        output_dataclip=None if one.output is None else Dataclip.of(one.output),
        next=next,
        duration=max(0, one.finished - one.started),
    )


def _end(workflow: Workflow, run_id: str, seq: int, seen: Sequence[Seen]) -> RunComplete:
    """How the run ended follows from its leaves; an abort is the last thing that happened."""
    led = {one.input_id for one in seen}
    leaves = [one for one in seen if one.output_id not in led or not one.output_id]
    order = [step.id for step in workflow.steps]
    failures = sorted(
        (one for one in leaves if one.error is not None), key=lambda one: order.index(one.step)
    )
    failed = failures[0] if failures else None
    output = leaves[0].output if len(leaves) == 1 else None
    last = seen[-1] if seen else None
    return RunComplete(
        run_id=run_id,
        seq=seq,
        timestamp=last.finished if last else 0,
        reason=failed.reason if failed else "success",
        error=failed.error if failed else None,
        final_state=None if output is None else Dataclip.of(output),
        duration=max(0, last.finished - seen[0].started) if last else 0,
    )
