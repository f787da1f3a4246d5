"""Importers: recordings from runs of Lightning and of the ``openfn`` command, and older recordings.

A Lightning run is one JSON object: the run as Lightning sends it to its worker (``jobs``,
``triggers``, ``edges``, ``starting_node_id``), with its ``steps`` (``job_id``, ``exit_reason``,
``error_type``, ``input_dataclip_id``, ``output_dataclip_id``, ``started_at``, ``finished_at``),
``dataclips`` (``id`` and ``body``) and ``logs`` (``step_id``, ``source``, ``level``, ``message``).
The cache of the command is a folder of outputs, ``<step>.json``; the order of the steps follows
from the workflow.

Neither holds the requests that steps made, so their recordings have none. A recording of an older
format is written anew in today's.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec

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
from worker.core.status import STATUS_OF_REASON, STATUSES, Reason
from worker.errors import LoadError, UsageError
from worker.replay.recording import read_recording
from worker.replay.recording_lines import FORMAT, RecordingHeader, workflow_line
from worker.replay.recording_writer import RecordingWriter
from worker.replay.scrub import Scrubber
from worker.util.json import dumps
from worker.workflow.documents.cursor import Cursor
from worker.workflow.documents.document import parse_json, read_document, read_text
from worker.workflow.load import load
from worker.workflow.model import Step, Workflow
from worker.workflow.save import to_execution_plan

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
REASON_OF_STATUS = {status.value: row.reason for status, row in STATUSES.items() if row.reason}
_LEVELS = ("debug", "info", "warn", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedExecution:
    """One execution of an imported run. Times are in microseconds since the epoch."""

    step: str
    reason: Reason
    error: StepError | None
    input: Any
    output: Any
    started_us: int
    finished_us: int
    logs: tuple[tuple[str, str, str], ...] = ()
    input_id: str = ""
    output_id: str = ""


class ImportedRecording(NamedTuple):
    """The recording that was written, and the name of its workflow."""

    file: Path
    workflow: str


_STATE_LIMIT_BYTES = 100 * 1024 * 1024


def import_recording(source: Path, target: Path) -> ImportedRecording:
    """Write a recording of any format in today's. Raises :class:`LoadError` if it is damaged."""
    recording = read_recording(source)
    if recording.damage:
        raise LoadError(f"it is damaged: {recording.damage[0]}", file=str(source))
    writer = RecordingWriter(
        target,
        msgspec.structs.replace(recording.header, format=FORMAT),
        workflow_line(recording.plan),
        dumps(recording.input),
        # Its secrets are masked already.
        Scrubber().json,
    )
    for exchange in recording.exchanges:
        writer.exchange(exchange)
    for event in recording.events:
        writer.receive(event)
    writer.close()
    return ImportedRecording(writer.file, recording.header.workflow)


def import_lightning(file: Path, target: Path) -> ImportedRecording:
    """Write the recording of a Lightning run.

    Raises :class:`LoadError` if ``file`` is not such a run.
    """
    document = read_document(file, located=True)
    run = _read_lightning(Cursor(document, document.root).mapping())
    return _write(target, run.workflow, run.id, run.input, run.executions, "lightning")


class _LightningRun(NamedTuple):
    workflow: Workflow
    id: str
    input: Any
    executions: Sequence[ImportedExecution]


def _read_lightning(node: Cursor) -> _LightningRun:
    if not is_lightning_run(node.value):
        node.fail("expected a Lightning run with its steps (jobs, triggers, edges, steps)")
    workflow = load({key: node.value[key] for key in _RUN_KEYS if node.has(key)})
    dataclips = {
        dataclip.at("id").name(): dataclip.at("body").value
        for dataclip in node.at("dataclips").elements()
    }
    jobs = {step.id for step in workflow.steps}
    runs = sorted(_lightning_steps(node, dataclips, jobs), key=lambda run: run.started_us)
    input = dataclips.get(node.at("dataclip_id").name(""), runs[0].input if runs else {})
    return _LightningRun(workflow, node.at("id").name(str(uuid.uuid4())), input, runs)


def lightning_events(file: Path) -> tuple[AnyEvent, ...]:
    """Return the events of a Lightning run, with the end that its ``state`` gives it, if any.

    Raises :class:`LoadError` if ``file`` is not such a run.
    """
    document = read_document(file, located=True)
    node = Cursor(document, document.root).mapping()
    run = _read_lightning(node)
    events = tuple(_events(run.workflow, run.id, run.executions))
    state = node.at("state").name("")
    reason = REASON_OF_STATUS.get(state)
    if not state:
        return events
    if reason is None:
        expected = ", ".join(REASON_OF_STATUS)
        node.at("state").fail(f"unknown state '{state[:80]}' (expected one of {expected})")
    end = events[-1]
    assert isinstance(end, RunComplete)
    error = None if reason == "success" else end.error
    return *events[:-1], msgspec.structs.replace(
        end, reason=reason, error=error, error_type=None, error_message=None
    )


def is_lightning_run(content: Any) -> bool:
    """Return True for the JSON of a Lightning run with its steps."""
    return isinstance(content, dict) and "jobs" in content and "steps" in content


def _lightning_steps(
    node: Cursor, dataclips: Mapping[str, Any], jobs: Collection[str]
) -> Iterator[ImportedExecution]:
    logs: dict[str, list[tuple[str, str, str]]] = {}
    for log in node.at("logs").elements():
        level = log.at("level").name("info")
        # OpenFn has levels (always, success) that an event does not.
        line = (log.at("source").name("JOB"), level if level in _LEVELS else "info")
        logs.setdefault(log.at("step_id").name(""), []).append((*line, log.at("message").text("")))
    for step in node.at("steps").elements():
        reason = step.at("exit_reason").name("success")
        if reason not in STATUS_OF_REASON:
            step.at("exit_reason").fail(f"expected one of {', '.join(STATUS_OF_REASON)}")
        type = step.at("error_type").name("JobError")
        message = step.at("error_message").text("")
        job, output = step.at("job_id").name(), step.at("output_dataclip_id").name("")
        if job not in jobs:
            step.at("job_id").fail(f"the run has no job '{job[:80]}'")
        yield ImportedExecution(
            step=job,
            reason=cast("Reason", reason),
            error=StepError(type=type or "JobError", message=message, job_id=job)
            if reason != "success"
            else None,
            input=dataclips.get(step.at("input_dataclip_id").name("")),
            output=dataclips.get(output),
            started_us=_timestamp_us(step.at("started_at")),
            finished_us=_timestamp_us(step.at("finished_at")),
            logs=tuple(logs.get(step.at("id").name(""), ())),
            input_id=step.at("input_dataclip_id").name(""),
            output_id=output,
        )


def _timestamp_us(node: Cursor) -> int:
    if node.value is None:
        return 0
    try:
        time = datetime.fromisoformat(node.text())
    except ValueError:
        node.fail("expected a date and time in ISO 8601")
    # A time without a zone is in UTC, as in Lightning's database.
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1e6)


def import_cache(
    cache: Path, workflow_file: Path, pick: str | None, target: Path
) -> ImportedRecording:
    """Write the recording of a run from the command's cache (``.cli-cache/<workflow>``).

    Its workflow is the workflow ``pick`` of ``workflow_file``. Raises :class:`UsageError` if the
    cache holds no output of its steps.
    """
    workflow = load(workflow_file, workflow=pick)
    # The cache has neither times nor an order: both follow from the graph.
    outputs = {step.id: _cached(cache / f"{step.id}.json") for step in workflow.steps}
    runs = list(_walk(workflow, {id: state for id, state in outputs.items() if state is not None}))
    if not runs:
        raise UsageError(f"{cache} has no output of a step of this workflow")
    return _write(target, workflow, str(uuid.uuid4()), {}, runs, "cli")


def _cached(file: Path) -> Any:
    if not file.is_file():
        return None
    return parse_json(read_text(file, _STATE_LIMIT_BYTES), str(file))


def _walk(workflow: Workflow, outputs: Mapping[str, Any]) -> Iterator[ImportedExecution]:
    """Follow the workflow from its start, breadth first, through the steps that have an output."""
    steps = {step.id: step for step in workflow.steps}
    waiting: list[tuple[str, Any, str]] = [(workflow.start or workflow.steps[0].id, {}, "input")]
    visited: set[str] = set()
    while waiting:
        id, input, input_id = waiting.pop(0)
        step = steps[id]
        if id in visited or (step.runs_code and id not in outputs):
            continue
        # Once each: a cache holds the last output of a step that ran several times.
        visited.add(id)
        output, output_id = (outputs[id], f"output-{id}") if step.runs_code else (input, input_id)
        if step.runs_code:
            error = _cached_error(step, output)
            yield ImportedExecution(
                step=id,
                reason="fail" if error else "success",
                error=error,
                input=input,
                output=output,
                started_us=0,
                finished_us=0,
                input_id=input_id,
                output_id=output_id,
            )
        waiting += [(edge.target, output, output_id) for edge in step.open_edges]


def _cached_error(step: Step, output: Any) -> StepError | None:
    errors = output.get("errors") if isinstance(output, dict) else None
    entry = errors.get(step.id) if isinstance(errors, dict) else None
    if not isinstance(entry, dict):
        return None
    return StepError(type="JobError", message=str(entry.get("message", "")), job_id=step.id)


# --- writing --------------------------------------------------------------------------------------


def _write(
    target: Path,
    workflow: Workflow,
    run_id: str,
    input: Any,
    runs: Sequence[ImportedExecution],
    origin: str,
) -> ImportedRecording:
    header = RecordingHeader(run_id=run_id, workflow=workflow.name, origin=origin)
    # A state is an object, and the body of a dataclip may be any JSON.
    text = dumps(input if isinstance(input, dict) else {})
    plan = workflow_line(to_execution_plan(workflow))
    writer = RecordingWriter(target, header, plan, text, Scrubber().json)
    for event in _events(workflow, run_id, runs):
        writer.receive(event)
    writer.close()
    return ImportedRecording(writer.file, workflow.name)


def _events(
    workflow: Workflow, run_id: str, runs: Sequence[ImportedExecution]
) -> Iterator[AnyEvent]:
    begin = runs[0].started_us if runs else 0
    yield RunStart(run_id=run_id, seq=0, timestamp=begin, workflow=workflow.name, versions={})
    seq, counts = 1, dict[str, int]()
    for number, run in enumerate(runs):
        execution = counts[run.step] = counts.get(run.step, -1) + 1
        # Neither source lists the edges that were taken: a step follows the output it begins with.
        next = [other.step for other in runs if run.output_id and other.input_id == run.output_id]
        for event in _step(run_id, seq, run, execution, str(number), tuple(next)):
            yield event
            seq += 1
    yield _end(workflow, run_id, seq, runs)


def _step(
    run_id: str, seq: int, run: ImportedExecution, execution: int, id: str, next: tuple[str, ...]
) -> Iterator[AnyEvent]:
    yield StepStart(
        run_id=run_id,
        seq=seq,
        timestamp=run.started_us,
        step_id=id,
        job_id=run.step,
        job_name=run.step,
        input_dataclip_id=run.input_id,
        execution=execution,
    )
    for source, level, message in run.logs:
        seq += 1
        yield RunLog(
            run_id=run_id,
            seq=seq,
            timestamp=run.started_us,
            source=source,
            level=level,
            message=message,
            step_id=id,
            job_id=run.step,
        )
    yield StepComplete(
        run_id=run_id,
        seq=seq + 1,
        timestamp=run.finished_us,
        step_id=id,
        job_id=run.step,
        reason=run.reason,
        error=run.error,
        output_dataclip_id=run.output_id or None,
        output_dataclip=None if run.output is None else Dataclip.of(run.output),
        next=next,
        duration=max(0, run.finished_us - run.started_us),
    )


def _end(
    workflow: Workflow, run_id: str, seq: int, runs: Sequence[ImportedExecution]
) -> RunComplete:
    # The sources hold no end of the run: it follows from the leaves by OpenFn's rule, which takes
    # the error of the first failed leaf in the order of the workflow's steps.
    followed = {run.input_id for run in runs}
    leaves = [run for run in runs if run.output_id not in followed or not run.output_id]
    order = [step.id for step in workflow.steps]
    failures = sorted(
        (leaf for leaf in leaves if leaf.error is not None), key=lambda leaf: order.index(leaf.step)
    )
    failed = failures[0] if failures else None
    output = leaves[0].output if len(leaves) == 1 else None
    last = runs[-1] if runs else None
    return RunComplete(
        run_id=run_id,
        seq=seq,
        timestamp=last.finished_us if last else 0,
        reason=failed.reason if failed else "success",
        error=failed.error if failed else None,
        final_state=None if output is None else Dataclip.of(output),
        duration=max(0, last.finished_us - runs[0].started_us) if last else 0,
    )
