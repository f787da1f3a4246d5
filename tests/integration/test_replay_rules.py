"""Rules of comparison of a replay, on runs of the built-in adaptor, without a server."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.test_recording import replayed
from tests.support.command import WORKER, call_worker
from worker.adaptors.http.exchange import HttpRequest
from worker.core.events import StepComplete
from worker.errors import UsageError
from worker.replay.recording import read_recording
from worker.replay.scrub import Scrubber
from worker.util.json import dumps
from worker.workflow.load import load

COMMON = "common@1"
STEPS: list[dict[str, Any]] = [
    {"id": "a", "next": {"b": True, "e": True}},
    {"id": "b", "expression": "fn(s => ({ n: 1 }));", "next": "c"},
    {"id": "c", "next": "d"},
    {"id": "d", "next": {"late": {"condition": "state.n > 1"}}},
    {"id": "e", "expression": "fn(s => undefined);"},
    {"id": "late"},
]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("replay")
    steps = [{"adaptor": COMMON, "expression": "fn(s => s);", **step} for step in STEPS]
    (root / "w.yaml").write_text(yaml.safe_dump({"steps": steps}))
    done = call_worker("run", root / "w.yaml", "--record", root / "run", "--quiet")
    assert done.returncode == 0, done.stderr
    return root / "run"


def edited(recording: Path, before: str, after: str) -> Any:
    text = json.dumps(read_recording(recording).plan)
    assert before in text
    return load(json.loads(text.replace(before, after)))


@pytest.mark.slow
def test_a_part_is_compared_with_all_that_its_first_step_leads_to(recording: Path) -> None:
    part = replayed(recording, start="b")
    assert [entry.step for entry in part.result.path] == ["b", "c", "d"]
    assert part.divergence is None
    changed = replayed(
        recording, edited(recording, '"fn(s => s);"', '"fn(s => ({ m: 2 }));"'), start="b"
    )
    assert changed.divergence is not None
    assert (changed.divergence.kind, changed.divergence.step) == ("state", "c")


@pytest.mark.slow
def test_a_step_more_is_a_divergence_where_the_recording_ended_by_itself(recording: Path) -> None:
    more = replayed(recording, edited(recording, "state.n > 1", "state.n > 0")).divergence
    # The edge of d comes before the step that it leads to.
    assert more is not None and (more.kind, more.step) == ("edge", "d")


@pytest.mark.parametrize(("reason", "compared"), [("success", True), ("cancel", False)])
def test_a_run_that_was_ended_from_outside_is_compared_as_far_as_it_came(
    recording: Path, tmp_path: Path, reason: str, compared: bool
) -> None:
    file = tmp_path / "run"
    lines = [json.loads(line) for line in recording.read_text().splitlines()]
    # As if the run had ended after c: its steps d and e never were, and nothing stands for them.
    last = next(
        n
        for n, line in enumerate(lines)
        if line["type"] == "step:complete" and line.get("job_id") == "c"
    )
    end = {**lines[-1], "reason": reason, "seq": lines[last]["seq"] + 1}
    # As the writer spells JSON, or the dataclips would not have their hashes.
    kept = [dumps(line) + "\n" for line in (*lines[: last + 1], *_dataclips(lines[last:]), end)]
    file.write_text("".join(kept))
    read = read_recording(file)
    assert read.complete and not read.damage
    divergence = replayed(file).divergence
    if compared:
        assert divergence is not None and divergence.kind == "path"
    else:
        assert divergence is None


@pytest.mark.slow
def test_a_step_that_was_cancelled_is_not_compared(recording: Path, tmp_path: Path) -> None:
    file = tmp_path / "run"
    lines = [json.loads(line) for line in recording.read_text().splitlines()]
    last = next(n for n, line in enumerate(lines) if line["type"] == "step:complete")
    cancelled = {"reason": "cancel", "error_type": "CancelledError", "error_message": "cancelled"}
    step = {**lines[last], **cancelled, "next": []}
    end = {**lines[-1], **cancelled, "seq": step["seq"] + 1}
    kept = [dumps(line) + "\n" for line in (*lines[:last], *_dataclips(lines[last:]), step, end)]
    file.write_text("".join(kept))
    assert replayed(file).divergence is None
    done = call_worker("replay", file)
    assert done.stdout.startswith(f"✓ {file}: as recorded, up to its end (cancelled)\n")


def _dataclips(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line["type"] == "dataclip"]


@pytest.mark.parametrize(
    ("step", "before", "after", "message"),
    [
        ("b", "fn(s => ({ n: 1 }));", "fn(s => undefined);", "expected an output, found none"),
        ("e", "fn(s => undefined);", "fn(s => ({ n: 1 }));", "expected no output, found one"),
    ],
)
def test_an_output_that_goes_or_comes_is_a_divergence(
    recording: Path, step: str, before: str, after: str, message: str
) -> None:
    found = replayed(recording, edited(recording, before, after)).divergence
    assert found is not None and (found.kind, found.step, found.message) == ("state", step, message)


@pytest.mark.slow
def test_a_changed_ending_is_told_in_the_order_of_time(recording: Path) -> None:
    found = replayed(
        recording, edited(recording, "fn(s => ({ n: 1 }));", "fn(s => nope());")
    ).divergence
    assert found is not None and found.kind == "outcome"
    assert (
        found.message.startswith("expected success, found ") and "ReferenceError" in found.message
    )


def test_a_secret_in_the_url_of_a_request_is_scrubbed() -> None:
    scrubber = Scrubber(["correct-horse"], [r"P-\d+"])
    request = HttpRequest(
        method="GET", url="https://x.example/correct-horse/P-12?key=correct-horse"
    )
    scrubbed = scrubber.request(request)
    assert scrubbed.url == "https://x.example/***/***?key=***"
    assert scrubbed.method == "GET"


def test_a_pattern_that_is_no_regular_expression_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'\(' is not a regular expression"):
        Scrubber(patterns=["("])
    (tmp_path / "w.yaml").write_text(
        yaml.safe_dump({"steps": [{"id": "a", "adaptor": COMMON, "expression": "fn(s => s);"}]})
    )
    done = call_worker("run", tmp_path / "w.yaml", "--record", tmp_path / "run", "--scrub", "(")
    assert done.returncode == 2 and "not a regular expression" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_worker_that_is_killed_leaves_a_recording_of_what_had_happened(tmp_path: Path) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "a", "adaptor": COMMON, "expression": "fn(s => ({ n: 1 }));", "next": {"b": True}},
        {"id": "b", "adaptor": COMMON, "expression": "fn(s => { while (true) {} });"},
    ]
    (tmp_path / "w.yaml").write_text(yaml.safe_dump({"steps": steps}))
    file = tmp_path / "run.jsonl"
    process = subprocess.Popen([*WORKER, "run", tmp_path / "w.yaml", "--record", file, "-q"])
    try:
        while not file.exists() or b'"job_id":"b"' not in file.read_bytes():
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    read = read_recording(file)
    assert read.damage == ("the recording ends before its run does",)
    assert [event.type for event in read.events] == [
        *("run:start", "step:start", "step:complete", "step:start"),
    ]
    done = call_worker("recording", "show", file)
    assert done.returncode == 1
    assert "▸ b  not ended" in done.stdout and 'output: {"n":1}' in done.stdout


@pytest.mark.slow
def test_a_recording_has_true_durations_beside_the_clock_that_the_code_reads(
    tmp_path: Path,
) -> None:
    loop = "for (let i = 0; i < 2e6; i++) sum += i % 7;"
    job = (
        "fn(s => { const began = Date.now(); let sum = 0; "
        f"{loop} return {{ sum, read: Date.now() - began }} }})"
    )
    (tmp_path / "w.yaml").write_text(
        yaml.safe_dump({"steps": [{"id": "count", "adaptor": COMMON, "expression": job}]})
    )
    done = call_worker("run", tmp_path / "w.yaml", "--record", tmp_path / "r.jsonl", "--quiet")
    assert done.returncode == 0, done.stderr
    events = read_recording(tmp_path / "r.jsonl").events
    (complete,) = (event for event in events if isinstance(event, StepComplete))
    assert complete.output_dataclip is not None
    # Two million turns take the engine 50 ms and more; each reading of the clock moves it by 10 us.
    assert complete.output_dataclip.value["read"] <= 1
    assert complete.duration > 10_000
    assert replayed(tmp_path / "r.jsonl").divergence is None
