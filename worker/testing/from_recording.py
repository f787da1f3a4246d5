"""Makes cases of recordings: the run that failed becomes the test that keeps it mended."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from worker.adaptors.http.exchange import Exchange, reply_fields
from worker.core.events import RunComplete, StepComplete
from worker.core.execution import executions
from worker.errors import UsageError
from worker.replay.recording import Recording
from worker.testing.cases import load_cases
from worker.testing.runner import run_case


def write_case(recordings: Sequence[Recording], target: Path) -> None:
    """Write the cases of recordings of one workflow, beside a copy of it.

    Raises :class:`UsageError` for recordings of several workflows, and where the file exists.
    """
    if not target.name.endswith((".cases.yaml", ".cases.yml", ".cases.json")):
        raise UsageError(f"a file of cases ends in .cases.yaml, found {target}")
    if len({one.header.fingerprint for one in recordings}) > 1:
        raise UsageError("the recordings are of several workflows: write a file for each")
    name = f"{target.name.partition('.cases.')[0]}.workflow.json"
    for file in (target, target.with_name(name)):
        if file.exists():
            raise UsageError(f"{file} exists already: choose another name, or remove it first")
    plan = (recordings[0].folder / "workflow.json").read_text("utf-8")
    target.with_name(name).write_text(plan, "utf-8")
    content: dict[str, Any] = {"workflow": name, "cases": [_case(one) for one in recordings]}
    target.write_text(_dumped(target, content), "utf-8")
    # A state that holds the time of a step is another one in a case, whose steps take none.
    for case, read in zip(content["cases"], load_cases(target), strict=True):
        if any("state" in text for text in run_case(read).mismatches):
            del case["expect"]["state_exact"]
    target.write_text(_dumped(target, content), "utf-8")


def _dumped(target: Path, content: dict[str, Any]) -> str:
    if target.suffix == ".json":
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    import yaml

    text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
    return text


def _case(recording: Recording) -> dict[str, Any]:
    first = recording.events[0]
    moment = datetime.fromtimestamp(first.timestamp / 1e6, UTC).isoformat()
    header = recording.header
    limits = header.limits
    return {
        "name": f"{header.workflow}, run {header.run_id}",
        "run_id": header.run_id,
        "at": moment,
        "timeout": limits.get("timeout_s", 300),
        "memory": limits.get("memory_mb", 500),
        **_ends(recording),
        **({"credentials": header.credentials} if header.credentials else {}),
        "input": dict(recording.input),
        **({"http": [_stub(one) for one in recording.exchanges]} if recording.exchanges else {}),
        **_steps(recording),
        "expect": dict(_expected(recording)),
    }


def _ends(recording: Recording) -> dict[str, str]:
    ends = {"start": recording.header.start, "end": recording.header.end}
    return {name: step for name, step in ends.items() if step}


def _stub(one: Exchange) -> dict[str, Any]:
    request = {"method": one.request.method, "url": one.request.url}
    return {
        "step": one.step,
        "request": request,
        "times": 1,
        "reply": reply_fields(one.reply),
        "delay": (one.arrived - one.asked) / 1e6,
    }


def _steps(recording: Recording) -> dict[str, Any]:
    """Steps of an import do what was seen of them, as their requests are not known."""
    if recording.header.origin == "worker":
        return {}
    acts: dict[str, dict[str, Any]] = {}
    for run in executions(recording.events):
        if run.complete is not None:
            acts.setdefault(run.job_id, {})[str(run.number)] = _act(run.complete)
    return {"steps": acts} if acts else {}


def _act(event: StepComplete) -> dict[str, Any]:
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
    yield "path", [one.job_id for one in recording.events if isinstance(one, StepComplete)]
    if isinstance(last, RunComplete) and last.final_state is not None:
        yield "state_exact", last.final_state.value
