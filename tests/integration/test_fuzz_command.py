"""``worker fuzz``: planted defects, replies, cases to keep, synthetic inputs, sources."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Done, call_worker
from worker.testing import load_cases, run_case

SAMPLE = {
    "data": {
        "patient": {"id": "P-0042", "name": "Amina", "born": "2001-02-03", "age": "24"},
        "visits": [{"on": "2024-05-06", "weight": 51}, {"on": "2025-01-02", "weight": 52}],
    }
}

# Each defect: code that works for the sample, and the error of the engine when it does not.
DEFECTS = {
    "a field that may be missing": (
        "state.name = state.data.patient.name.toUpperCase();",
        ("TypeError", "reading 'toUpperCase'"),
    ),
    "a list that may be empty": (
        "state.first = state.data.visits[0].weight;",
        ("TypeError", "reading 'weight'"),
    ),
    "a date of another format": (
        "state.born = new Date(state.data.patient.born + 'T00:00:00Z').toISOString();",
        ("RangeError", ""),
    ),
    "a number as text": (
        "state.age = state.data.patient.age.padStart(3, '0');",
        ("TypeError", "padStart is not a function"),
    ),
}


def write(folder: Path, *jobs: str) -> tuple[Path, Path]:
    """Write a workflow of these jobs, one after the other, and its sample."""
    steps = [
        {
            "id": f"s{number}",
            "adaptor": "common",
            "expression": f"fn(state => {{ {job} return state; }});",
            "next": {f"s{number + 1}": True} if number + 1 < len(jobs) else {},
        }
        for number, job in enumerate(jobs)
    ]
    file, sample = folder / "w.json", folder / "sample.json"
    file.write_text(json.dumps({"workflow": {"name": "w", "steps": steps}}), "utf-8")
    sample.write_text(json.dumps(SAMPLE), "utf-8")
    return file, sample


def endings(done: Done) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [line for line in lines if line["type"] == "ending"]


def fuzz(file: Path, sample: Path, *options: str | Path, inputs: int = 150) -> Done:
    return call_worker(
        "fuzz", file, "--from", sample, "--inputs", str(inputs), "--seconds", "200", "--jobs", "1",
        *options,
    )  # fmt: skip


@pytest.mark.slow
def test_a_new_ending_has_the_simplest_input_and_a_case_to_keep(tmp_path: Path) -> None:
    file, sample = write(tmp_path, DEFECTS["a field that may be missing"][0])
    cases = tmp_path / "fuzz.cases.yaml"
    done = fuzz(file, sample, "--json", "--write-cases", cases, inputs=80)
    assert done.returncode == 1, done.stderr
    missing = next(
        item for item in endings(done) if item["origin"] == ["without data.patient.name"]
    )
    assert missing["input"] == {"data": {"patient": {}}}
    assert missing["failures"][0]["step"] == "s0" and missing["error_type"] == "TypeError"
    results = [run_case(case) for case in load_cases(cases)]
    assert len(results) == len(endings(done))
    assert [result.mismatches for result in results] == [()] * len(results)


INTERRUPTED = """
import contextlib, importlib, itertools, os, signal
fuzz = importlib.import_module("worker.cli.fuzz")
numbers = itertools.count(1)

@contextlib.contextmanager
def interrupting(*_):
    yield lambda: os.kill(os.getpid(), signal.SIGINT) if next(numbers) == 60 else None

fuzz.progress = interrupting
from worker.cli.main import main
main()
"""


@pytest.mark.slow
def test_an_interrupted_search_shows_what_it_found(tmp_path: Path) -> None:
    file, sample = write(tmp_path, DEFECTS["a field that may be missing"][0])
    cases = tmp_path / "fuzz.cases.yaml"
    words: list[str | Path] = ["fuzz", file, "--from", sample, "--seconds", "200", "--jobs", "1"]
    command = [sys.executable, "-c", INTERRUPTED, *words, "--write-cases", cases]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 130, done
    assert "reading 'toUpperCase'" in done.stdout and ", interrupted)" in done.stdout
    assert load_cases(cases)


@pytest.mark.slow
def test_the_output_is_the_same_for_a_seed_and_any_number_of_jobs(tmp_path: Path) -> None:
    file, sample = write(tmp_path, DEFECTS["a date of another format"][0])
    first = fuzz(file, sample, "--json", inputs=70)
    second = fuzz(file, sample, "--json", "--jobs", "3", inputs=70)
    assert endings(first) == endings(second) != []


@pytest.mark.slow
def test_a_robust_workflow_has_no_new_failure(tmp_path: Path) -> None:
    file, sample = write(tmp_path, "state.done = true;")
    done = fuzz(file, sample, inputs=60)
    assert done.returncode == 0
    assert "0 new endings in 60 inputs" in done.stdout


@pytest.mark.slow
def test_conditions_are_decided_by_their_own_literals(tmp_path: Path) -> None:
    file, sample = write(tmp_path, "1;", "state.data.x.y;")
    plan = json.loads(file.read_text("utf-8"))
    plan["workflow"]["steps"][0]["next"] = {"s1": "state.data.patient.name === 'urgent'"}
    file.write_text(json.dumps(plan), "utf-8")
    done = fuzz(file, sample, inputs=120)
    assert "TypeError at s1" in done.stdout and "path: s0 → s1" in done.stdout


@pytest.mark.slow
def test_replies_come_from_a_case(tmp_path: Path) -> None:
    file, sample = write(tmp_path, "state.data.reply.id;")
    steps = {"s0": {"returns": {"ok": True}}}
    content = {"workflow": "w.json", "defaults": {"steps": steps}}
    case = {"name": "c", "input": {}, "expect": {"status": "success"}}
    cases = tmp_path / "c.cases.json"
    cases.write_text(json.dumps({**content, "cases": [case]}), "utf-8")
    assert fuzz(file, sample, inputs=30).returncode == 0
    done = fuzz(file, sample, "--case", cases, inputs=30)
    # The step is scripted, so no input makes it fail.
    assert done.returncode == 0 and "0 new endings" in done.stdout


@pytest.mark.slow
def test_a_recording_gives_the_input(tmp_path: Path) -> None:
    file, sample = write(tmp_path, DEFECTS["a number as text"][0])
    recording = tmp_path / "runs" / "first.jsonl"
    recording.parent.mkdir()
    run = call_worker("run", file, "--input", sample, "--record", recording, "--quiet")
    assert run.returncode == 0
    done = fuzz(file, recording.parent, inputs=60)
    assert "data.patient.age is a text as number" in done.stdout


def test_synthetic_inputs_are_lines_of_json(tmp_path: Path) -> None:
    file, sample = write(tmp_path, "1;")
    target = tmp_path / "synthetic.jsonl"
    done = call_worker("fuzz", file, "--from", sample, "--synthetic", "5", "-o", target)
    assert done.returncode == 0
    lines = target.read_text("utf-8").splitlines()
    assert len(set(lines)) == 5
    assert all(json.loads(line)["data"].keys() == SAMPLE["data"].keys() for line in lines)
    assert "Amina" not in target.read_text("utf-8")
    # They are samples again.
    assert call_worker("fuzz", file, "--from", target, "--synthetic", "1").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("[1]", [], "expected inputs as JSON objects, found int"),
        ("[]", [], "there is no input in"),
        (
            '{"$schema": "http://json-schema.org/draft-07/schema#", "type": "string"}',
            [],
            "no object meets it",
        ),
        ("{}", ["-o", "x"], "--output is for synthetic inputs"),
        ("{}", ["--case", "sample.json"], "expected a file of cases"),
    ],
)
def test_unsuitable_sources(tmp_path: Path, content: str, options: list[str], message: str) -> None:
    file, sample = write(tmp_path, "1;")
    sample.write_text(content, "utf-8")
    done = call_worker("fuzz", file, "--from", sample, *options, cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", range(10))
def test_planted_defects_are_found_in_ten_workflows(tmp_path: Path, number: int) -> None:
    # Each workflow has two of the defects, in another order, between steps without any.
    kinds = list(DEFECTS)
    first, second = kinds[number % 4], kinds[(number + 1 + number // 4) % 4]
    harmless = ["state.n = 1;", "state.m = Object.keys(state.data ?? {}).length;"][number % 2]
    codes = [harmless, DEFECTS[first][0], harmless, DEFECTS[second][0]]
    file, sample = write(tmp_path, *codes)
    failures = [item["failures"][0] for item in endings(fuzz(file, sample, "--json", inputs=120))]
    for step, kind in (("s1", first), ("s3", second)):
        type, message = DEFECTS[kind][1]
        assert any(
            failure["step"] == step and failure["type"] == type and message in failure["message"]
            for failure in failures
        ), (kind, failures)
