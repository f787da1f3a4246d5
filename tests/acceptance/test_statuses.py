"""Every status and error type that a run by itself can reach, by its true cause, through the
command. The README's table of statuses is this list."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import ROOT, WORKER, Done, call_worker

ROWS = [
    # workflow in graphs/aborts.yaml, more arguments, status, error type, exit code
    ("failed-job-error", (), "fail", "JobError", 1),
    ("failed-type-error", (), "fail", "TypeError", 1),
    ("failed-range-error", (), "fail", "RangeError", 1),
    ("crashed-syntax-error", (), "crash", "SyntaxError", 3),
    ("crashed-reference-error", (), "crash", "ReferenceError", 3),
    ("crashed-validation-error", (), "crash", "ValidationError", 3),
    ("crashed-edge-condition-error", (), "crash", "EdgeConditionError", 3),
    ("crashed-execution-error", (), "crash", "ExecutionError", 3),
    ("killed-security-error", (), "kill", "SecurityError", 4),
    ("killed-import-error", (), "kill", "ImportError", 4),
    ("killed-oom-error", ("--memory", "64"), "kill", "OomError", 4),
    ("killed-timeout-error", ("--timeout", "0.3"), "kill", "TimeoutError", 4),
    ("killed-state-too-large-error", ("--state-limit", "1"), "kill", "StateTooLargeError", 4),
    ("exception-credential", (), "exception", "CredentialError", 5),
]


def worker_run(*arguments: str) -> Done:
    return call_worker("run", *arguments, cwd=ROOT)


def events_of(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


@pytest.mark.parametrize(("name", "more", "reason", "type", "code"), ROWS, ids=[r[0] for r in ROWS])
def test_a_run_ends_by_its_true_cause(
    name: str, more: tuple[str, ...], reason: str, type: str, code: int
) -> None:
    where = ("graphs/aborts.yaml", "--workflow", name, "--input", "graphs/aborts.input.json")
    done = worker_run(*where, *more, "--json")
    events = events_of(done.stdout)
    ends = [event for event in events if event["type"] == "run:complete"]
    assert ends == [events[-1]]
    assert (ends[0]["reason"], ends[0]["error_type"]) == (reason, type)
    assert done.returncode == code, done.stderr


def test_a_run_that_handles_its_failure_is_a_success() -> None:
    done = worker_run("graphs/referral.yaml", "-i", "graphs/referral.unknown-patient.input.json")
    assert done.returncode == 0
    assert "✗ fetch-patient" in done.stdout and "✓ alert-nurse" in done.stdout
    assert "✓ success" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_cancels_the_run(number: signal.Signals) -> None:
    command = [*WORKER, "run", "graphs/aborts.yaml", "--workflow", "killed-timeout-error", "--json"]
    with subprocess.Popen(
        [*command, "--quiet"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["type"] == "step:start":
                os.kill(process.pid, number)
        assert process.wait(timeout=20) == 6
    assert (event["type"], event["reason"]) == ("run:complete", "cancel")


def test_every_graph_has_the_result_that_its_table_promises() -> None:
    rows = [
        [cell.strip().strip("`") for cell in line.strip("|\n").split("|")]
        for line in (ROOT / "graphs/README.md").read_text().splitlines()
        if line.startswith("| `") and "input.json" in line
    ]
    assert len(rows) >= 6
    for file, *_ in rows:
        assert (ROOT / "graphs" / file).is_file()


def samples() -> list[tuple[str, str, tuple[str, ...]]]:
    """Every sample with each of its inputs."""
    found = []
    for given in sorted((ROOT / "graphs").glob("*.input.json")):
        name, *variant = given.name.removesuffix(".input.json").split(".")
        file = next(f for f in (f"{name}.yaml", f"{name}.json") if (ROOT / "graphs" / f).is_file())
        pick = tuple(["--workflow", variant[0]] if name == "vaccination" else [])
        if name != "aborts":
            found.append((f"graphs/{file}", f"graphs/{given.name}", pick))
    return found


@pytest.mark.parametrize(("file", "given", "pick"), samples(), ids=[s[1] for s in samples()])
def test_every_sample_runs_to_a_handled_end(
    tmp_path: Path, file: str, given: str, pick: tuple[str, ...]
) -> None:
    collections = (ROOT / file).with_suffix("") / "collections"
    if collections.is_dir():
        # A copy, as the run writes there.
        pick = (*pick, "--collections", str(shutil.copytree(collections, tmp_path / "copy")))
    done = worker_run(file, "--input", given, *pick)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
