"""Commands with several processes: their output is that of one process, and nothing of them stays."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import TIMEOUT_S, WORKER, Done, call_worker
from worker.adaptors.http.allowlist import Reach
from worker.adaptors.http.lazy_host import LazyHost
from worker.cli.replay import ReplayWork
from worker.errors import WorkerError
from worker.replay.recorder import PreparedRecording, Recorder
from worker.replay.replayer import ReplayPart
from worker.runner import parallel
from worker.runner.parallel import results_in_order, worthwhile_processes
from worker.runner.pool import background
from worker.runner.prepare import Options
from worker.sandbox import child_process
from worker.testing.case_reader import load_cases
from worker.testing.case_runner import run_cases_in_parallel
from worker.workflow.load import load

linux = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")

JOB = {"adaptor": "common", "expression": "fn(state => { state.data.ran = true; return state })"}
LOOP = {"adaptor": "common", "expression": "fn(state => { while (true) {} })"}


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The modules that are started; processes are worth their start from the second item on."""
    started: list[str] = []
    start = child_process.start

    def counted(module: str, *arguments: str) -> Any:
        started.append(module)
        return start(module, *arguments)

    monkeypatch.setattr(child_process, "start", counted)
    monkeypatch.setattr(parallel, "START_S", 1e-9)
    yield started


def write_cases(folder: Path, count: int = 60) -> Path:
    """Write cases of all kinds: scripted and real, that pass and that fail."""
    steps = [{"id": "a", **JOB, "next": {"b": "state.data.n % 3 != 0"}}, {"id": "b", **JOB}]
    (folder / "w.json").write_text(json.dumps({"steps": steps}))
    cases = [
        {
            "name": f"case {n}",
            "input": {"data": {"n": n}},
            "steps": {} if n % 4 == 0 else {"a": {"returns": {"data": {"n": n}}}, "b": {}},
            # Wrong for every third.
            "expect": {"path": ["a", "b"] if n % 5 else ["a"], "status": "success"},
        }
        for n in range(count)
    ]
    file = folder / "w.cases.json"
    file.write_text(json.dumps({"workflow": "w.json", "cases": cases}))
    return file


def comparable(text: str) -> str:
    return re.sub(r'time="[0-9.]+"', "", text)


# --- the same results -----------------------------------------------------------------------------


@pytest.mark.slow
def test_cases_in_processes_give_the_output_of_one_process(
    tmp_path: Path, starts: list[str]
) -> None:
    file = write_cases(tmp_path)

    def call(jobs: int) -> tuple[Done, str, dict[str, Any]]:
        xml, rules = tmp_path / f"{jobs}.xml", tmp_path / f"{jobs}.json"
        done = call_worker("test", file, "-j", str(jobs), "--junit", xml, "--coverage", rules)
        return done, comparable(xml.read_text()), json.loads(rules.read_text())

    alone, *documents = call(1)
    assert "worker.runner.batch_process" not in starts
    shared, *other_documents = call(3)
    assert starts.count("worker.runner.batch_process") == 3
    assert (shared.stdout, shared.stderr) == (alone.stdout, alone.stderr)
    assert shared.returncode == alone.returncode == 1
    assert 0 < alone.stdout.count("✗") < 60
    assert other_documents == documents


@pytest.mark.slow
def test_an_update_writes_the_same_file(tmp_path: Path, starts: list[str]) -> None:
    texts = []
    for jobs in ("1", "2"):
        (tmp_path / jobs).mkdir()
        file = write_cases(tmp_path / jobs)
        assert call_worker("test", file, "-j", jobs, "--update").returncode == 0
        texts.append(file.read_text())
    assert texts[0] == texts[1]


def record(folder: Path, count: int) -> Path:
    """Record runs of a workflow, and change the numbers that some of them began with."""
    workflow = load({"workflow": {"name": "recorded", "steps": [{"id": "a", **JOB}]}})
    prepared = PreparedRecording(workflow, Options())
    for n in range(count):
        recorder = Recorder(folder / f"r{n:02}", prepared, {"data": {"n": n}}, LazyHost(Reach()))
        background().run(
            workflow,
            {"data": {"n": n}},
            prepared.options,
            sinks=[recorder],
            host=recorder.host,
            run_id=recorder.run_id,
        )
        recorder.close()
    return folder


@pytest.mark.parametrize("form", [(), pytest.param(("--json",), marks=pytest.mark.slow)])
def test_replays_in_processes_give_the_output_of_one_process(
    tmp_path: Path, starts: list[str], form: tuple[str, ...]
) -> None:
    folder = record(tmp_path / "runs", 12)
    damaged = folder / "r03"
    # Its header alone: neither its workflow nor its events.
    damaged.write_bytes(damaged.read_bytes().partition(b"\n")[0])
    changed = tmp_path / "changed.json"
    source = JOB["expression"].replace("state.data.ran", "if (state.data.n % 2) state.data.ran")
    steps = [{"id": "a", "adaptor": "common", "expression": source}]
    changed.write_text(json.dumps({"workflow": {"name": "recorded", "steps": steps}}))
    starts.clear()
    alone, shared = (
        call_worker("replay", folder, "--workflow-file", changed, *form, "-j", jobs)
        for jobs in ("1", "3")
    )
    assert starts.count("worker.runner.batch_process") == 3
    assert (shared.stdout, shared.returncode) == (alone.stdout, alone.returncode)
    assert (alone.returncode == 1 and "unreadable" in alone.stdout) or not form


@pytest.mark.slow
def test_explorations_in_processes_give_the_output_of_one_process(
    tmp_path: Path, starts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.cli.parallel_exploration._SHORT_CHECK", 5)
    steps: list[dict[str, Any]] = []
    for n in range(4):
        after = {f"b{n + 1}": "on_job_success"} if n < 3 else {}
        next = {f"l{n}": f"state.data.x{n} > {n}", f"r{n}": "state.data.y > 1e9 && state.never()"}
        steps += [{"id": f"b{n}", **JOB, "next": next}]
        steps += [{"id": f"{side}{n}", **JOB, "next": after} for side in "lr"]
    file = tmp_path / "w.json"
    file.write_text(json.dumps({"steps": steps}))
    asked = (
        "--ask",
        "never both l1 and r2",
        "--ask",
        "l3 never runs after l0",
        "--ask",
        "l0 always runs",
    )
    alone, shared = (
        call_worker("explore", file, *asked, "-j", jobs, *form)
        for form in ((),)
        for jobs in ("1", "2")
    )
    assert starts.count("worker.runner.batch_process") >= 4
    assert alone.stdout.startswith(" ") and "not listed" in alone.stdout
    assert (shared.stdout, shared.returncode) == (alone.stdout, alone.returncode)


def test_little_work_stays_in_this_process(tmp_path: Path) -> None:
    assert worthwhile_processes(items=10, jobs=8, estimate_s=0.1) == 0
    assert worthwhile_processes(items=10_000, jobs=8, estimate_s=parallel.START_S * 2.5) == 2
    assert worthwhile_processes(items=10_000, jobs=8, estimate_s=100) == 8
    assert worthwhile_processes(items=10_000, jobs=1, estimate_s=100) == 1
    assert worthwhile_processes(items=3, jobs=8, estimate_s=100) == 3


# --- an item that goes wrong ----------------------------------------------------------------------


class Lethal:
    """Item that ends the process that unpickles it."""

    def __reduce__(self) -> tuple[Callable[[int], Any], tuple[int]]:
        return os._exit, (3,)


@pytest.mark.slow
async def test_only_the_item_that_ends_its_process_is_lost(
    tmp_path: Path, starts: list[str]
) -> None:
    folder = record(tmp_path / "runs", 20)
    items: list[Any] = sorted(folder.iterdir())
    items[4] = items[11] = Lethal()
    work = ReplayWork(workflow=None, part=ReplayPart(), as_json=False, alone=False)
    async with aclosing(results_in_order(work, items, 2, 1.0)) as results:
        kinds = [report.kind async for report in results]
    assert [n for n, kind in enumerate(kinds) if kind != "same"] == [4, 11]
    assert kinds[4] == "unreadable"


@pytest.mark.slow
async def test_a_process_that_does_not_start_is_an_error(
    starts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    work = ReplayWork(workflow=Lethal(), part=ReplayPart(), as_json=False, alone=False)  # type: ignore[arg-type]
    with pytest.raises(WorkerError, match="a process did not start: it ended with 3"):
        async with aclosing(results_in_order(work, [Path()] * 4, 2, 1.0)) as results:
            _ = [report async for report in results]


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
async def test_a_case_that_cannot_run_fails_alone(
    tmp_path: Path, starts: list[str], jobs: int
) -> None:
    cases = load_cases(write_cases(tmp_path, 8))
    broken = {"data": {"n": {1, 2}}}
    cases = [*cases[:5], cases[5].__class__(**{**_fields(cases[5]), "input": broken}), *cases[6:]]
    results = [result async for result in run_cases_in_parallel(cases, jobs, keep_runs=True)]
    failed = [result.case.name for result in results if not result.results]
    assert failed == ["case 5"]
    assert results[5].mismatches[0].startswith("the case could not be run: UsageError")


def _fields(case: Any) -> dict[str, Any]:
    return {name: getattr(case, name) for name in case.__dataclass_fields__}


# --- processes that end ---------------------------------------------------------------------------


def children(pid: int) -> list[int]:
    """List the processes that a process has started, and those that these have started."""
    try:
        direct = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [process for child in map(int, direct) for process in (child, *children(child))]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def batch_processes(pid: int) -> list[int]:
    return [p for p in children(pid) if b"batch_process" in _command(p)]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.fixture
def long_test(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A test command whose first case loops; it has thousands more, and two processes."""
    steps = [{"id": "a", **LOOP}, {"id": "b", **JOB}]
    (tmp_path / "w.json").write_text(json.dumps({"steps": steps}))
    loops = {"name": "loops", "timeout": 200, "expect": {"status": "killed"}}
    scripted = {
        "name": "case ${n}",
        "matrix": {"n": list(range(3000))},
        "steps": {"a": {"returns": {"data": {"n": "${n}"}}}},
        "expect": {"status": "success"},
    }
    (tmp_path / "w.cases.json").write_text(
        json.dumps({"workflow": "w.json", "cases": [loops, scripted]})
    )
    process = subprocess.Popen(
        [*WORKER, "test", str(tmp_path / "w.cases.json"), "-j", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@linux
@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, marks=pytest.mark.slow),
    ],
)
def test_a_command_that_is_ended_leaves_no_process(
    long_test: subprocess.Popen[str], number: signal.Signals
) -> None:
    wait_until(lambda: len(batch_processes(long_test.pid)) == 2)
    # Both have a sandbox of their own.
    wait_until(lambda: len(children(long_test.pid)) >= 5)
    everybody = children(long_test.pid)
    long_test.send_signal(number)
    _, errors = long_test.communicate(timeout=TIMEOUT_S)
    assert long_test.returncode != 0
    assert "Traceback" not in errors
    wait_until(lambda: not any(map(alive, everybody)))


@linux
@pytest.mark.slow
def test_a_process_that_is_killed_loses_no_result(tmp_path: Path) -> None:
    file = write_cases(tmp_path, 3000)
    command = [*WORKER, "test", str(file), "-j", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        wait_until(lambda: len(batch_processes(process.pid)) == 2)
        first = process.stdout.readline()
        victims = batch_processes(process.pid)
        if victims:
            os.kill(victims[0], signal.SIGKILL)
        output = first + process.stdout.read()
    names = re.findall(r"^[✓✗] (case \d+)$", output, re.MULTILINE)
    assert names == [f"case {n}" for n in range(3000)]
    assert "was killed" not in output
