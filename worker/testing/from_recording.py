"""Writer of cases from recordings: a run that failed becomes a test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from worker.adaptors.collections.settings import LOCAL_URL
from worker.adaptors.http.exchange import Exchange, reply_fields
from worker.core.events import RunComplete, StepComplete
from worker.core.execution import executions
from worker.errors import UsageError
from worker.replay.recording import Recording
from worker.testing.case import SUFFIXES
from worker.testing.case_reader import load_cases
from worker.testing.case_runner import run_case
from worker.testing.case_text import dump_cases
from worker.util.json import dump_indented
from worker.util.utc_time import utc_moment
from worker.util.whole_files import write_whole
from worker.workflow.save import fingerprint


def write_case(recordings: Sequence[Recording], target: Path) -> Path:
    """Write the cases of recordings of one workflow, beside a copy of that workflow.

    Return the file of the copy.

    Raises :class:`UsageError` for recordings of several workflows, and where the file exists.
    """
    if not target.name.endswith(SUFFIXES):
        raise UsageError(
            f"expected the name of a case file to end in {SUFFIXES[0]}, found {target}"
        )
    if len({fingerprint(recording.workflow) for recording in recordings}) > 1:
        raise UsageError("the recordings are of several workflows: write a file for each")
    name = f"{target.name.partition('.cases.')[0]}.workflow.json"
    copy = target.with_name(name)
    for file in (target, copy):
        if file.exists():
            raise UsageError(f"{file} exists already: choose another name, or remove it first")
    write_whole(copy, dump_indented(recordings[0].plan).encode())
    cases = [case_fields(item) for item in recordings]
    content: dict[str, Any] = {"workflow": name, "cases": cases}
    write_whole(target, dump_cases(target, content).encode())
    # A state that holds the time of a step is another one in a case, whose steps take no time.
    # Whether it does shows only when the case runs, which needs the file.
    for fields, case in zip(content["cases"], load_cases(target), strict=True):
        if any("state" in text for text in run_case(case).mismatches):
            del fields["expect"]["state_exact"]
    write_whole(target, dump_cases(target, content).encode())
    return copy


def case_fields(recording: Recording) -> dict[str, Any]:
    """Return the fields of a case that is the recorded run, as a file holds them."""
    first = recording.events[0]
    moment = utc_moment(first.timestamp).isoformat()
    header = recording.header
    return {
        "name": f"{header.workflow}, run {header.run_id}",
        # With the run's id, its ids and random numbers are those of the recording.
        "run_id": header.run_id,
        "at": moment,
        "timeout": header.limits.timeout_s,
        "memory": header.limits.memory_mb,
        **_start_and_stop(recording),
        **({"credentials": header.credentials} if header.credentials else {}),
        "input": dict(recording.input),
        **({"http": _stubs(recording)} if recording.exchanges else {}),
        **_steps(recording),
        "expect": dict(_expected(recording)),
    }


def _start_and_stop(recording: Recording) -> dict[str, str]:
    steps = {"start_at": recording.header.start, "stop_after": recording.header.end}
    return {key: step for key, step in steps.items() if step}


def _stubs(recording: Recording) -> list[dict[str, Any]]:
    return [_stub(exchange, recording.header.collections) for exchange in recording.exchanges]


def _stub(exchange: Exchange, collections: str) -> dict[str, Any]:
    url = exchange.request.url
    if collections and url.startswith(collections):
        # Cases have no other endpoint.
        url = LOCAL_URL + url.removeprefix(collections)
    request = {"method": exchange.request.method, "url": url}
    return {
        "step": exchange.step,
        "request": request,
        # Each reply once, so that repeated requests get theirs in the recorded order.
        "times": 1,
        "reply": reply_fields(exchange.reply),
        "delay": (exchange.arrived_us - exchange.sent_us) / 1e6,
    }


def _steps(recording: Recording) -> dict[str, Any]:
    # An import holds no requests, so its steps cannot run their code again: they are scripted with
    # the outcomes that were seen.
    if recording.header.origin == "worker":
        return {}
    scripted: dict[str, dict[str, Any]] = {}
    for execution in executions(recording.events):
        if execution.complete is not None:
            step = scripted.setdefault(execution.job_id, {})
            step[str(execution.number)] = _scripted_step(execution.complete)
    return {"steps": scripted} if scripted else {}


def _scripted_step(event: StepComplete) -> dict[str, Any]:
    if event.error is not None:
        return {"fails": event.error.type, "message": event.error.message}
    return {"returns": event.output_dataclip.value if event.output_dataclip else None}


def _expected(recording: Recording) -> Iterator[tuple[str, Any]]:
    last = recording.events[-1]
    if isinstance(last, RunComplete):
        yield "status", last.status.value
        if last.error is not None:
            yield "error_type", last.error.type
            yield "error_message", last.error.message
    yield "path", [event.job_id for event in recording.events if isinstance(event, StepComplete)]
    if isinstance(last, RunComplete) and last.final_state is not None:
        yield "state_exact", last.final_state.value
