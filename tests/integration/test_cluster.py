"""Work on a cluster of Dask: what one machine prints, whatever happens to the cluster."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.integration.test_parallel import (
    JOB,
    comparable,
    record,
    wait_until,
    write_cases,
)
from tests.support.command import TIMEOUT_S, WORKER, call_worker
from worker.cluster.cluster_address import ClusterAddress
from worker.cluster.environments import describe_runner
from worker.errors import WorkerError
from worker.runner.parallel import Handler

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")
psutil = pytest.importorskip("psutil")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("cluster"),
    pytest.mark.filterwarnings("default"),
]


@contextmanager
def cluster_of(workers: int) -> Iterator[str]:
    """Start a scheduler and workers with nannies, as a user does, and yield its address."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            memory_limit=0,
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as cluster,
    ):
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    with cluster_of(2) as address:
        yield address


def test_commands_print_what_they_print_on_one_machine(tmp_path: Path, scheduler: str) -> None:
    runs = record(tmp_path / "runs", 12)
    damaged = runs / "r03"
    damaged.write_bytes(damaged.read_bytes().partition(b"\n")[0])
    write_cases(tmp_path)
    source = JOB["expression"].replace("state.data.ran", "if (state.data.n % 2) state.data.ran")
    steps = [{"id": "a", "adaptor": "common", "expression": source, "next": {"b": "state.data.x"}}]
    changed = {"workflow": {"name": "recorded", "steps": [*steps, {"id": "b", **JOB}]}}
    (tmp_path / "changed.json").write_text(json.dumps(changed))
    (tmp_path / "broken.yaml").write_text("steps: [")
    rules = str(tmp_path / "rules.json")
    spec = {"recordings": ["runs"], "versions": {"old": "recorded", "new": "changed.json"}}
    (tmp_path / "c.json").write_text(json.dumps({**spec, "questions": ["b always runs"]}))
    for command in (
        ("replay", "runs", "--workflow-file", "changed.json"),
        ("replay", "runs", "--json"),
        ("campaign", "run", "c.json"),
        ("test", "w.cases.json", "--junit", "junit.xml", "--coverage", rules),
        ("explore", "changed.json", "--ask", "b always runs"),
        ("explore", "changed.json", "--all", "--limit", "9", "--aborts", "--json"),
        ("lint", "changed.json", "w.json", "broken.yaml"),
    ):
        alone, files = call_worker(*command, cwd=tmp_path), written(tmp_path)
        shared = call_worker(*command, "--cluster", scheduler, cwd=tmp_path)
        assert (shared.stdout, shared.stderr) == (alone.stdout, alone.stderr), command
        assert shared.returncode == alone.returncode
        assert written(tmp_path) == files
        assert alone.stdout


REPORTS = ("junit.xml", "rules.json", "c/results.jsonl", "c/report.html")


def written(folder: Path) -> list[str]:
    """Return the reports that a command has written, and remove them."""
    files = [folder / name for name in REPORTS if (folder / name).exists()]
    texts = [comparable(file.read_text()) for file in files]
    for file in files:
        file.unlink()
    # What a campaign has finished is not done again.
    shutil.rmtree(folder / "c" / "chunks", ignore_errors=True)
    return texts


def test_a_large_exploration_is_that_of_one_machine(tmp_path: Path, scheduler: str) -> None:
    """Sixty steps and twenty decisions: far more runs than any table has rows."""
    steps: list[dict[str, Any]] = []
    for n in range(20):
        condition = f"state.data.x{n} > {n}"
        after = {f"b{n + 1}": "on_job_success"} if n < 19 else {}
        steps.append({"id": f"b{n}", "next": {f"l{n}": condition, f"r{n}": f"!({condition})"}})
        steps += [{"id": f"{side}{n}", "next": after} for side in "lr"]
    listed = [{"adaptor": "common", "expression": "fn(s => s)", **step} for step in steps]
    assert len(listed) == 60
    (tmp_path / "w.json").write_text(json.dumps({"workflow": {"name": "w", "steps": listed}}))
    for options in (("--ask", "r19 always runs"), ("--all", "--limit", "1200", "--json")):
        alone = call_worker("explore", "w.json", *options, cwd=tmp_path)
        shared = call_worker("explore", "w.json", *options, "--cluster", scheduler, cwd=tmp_path)
        assert alone.stdout and (shared.stdout, shared.stderr) == (alone.stdout, alone.stderr)
        assert shared.returncode == alone.returncode


# --- workers that end -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Doubling:
    """Work whose items are numbers, or functions that return them where they are unpickled."""

    @asynccontextmanager
    async def open(self, slots: int) -> AsyncIterator[Handler[Any, Any]]:
        yield self._handle

    async def _handle(self, items: Sequence[Any]) -> AsyncIterator[Any]:
        for item in items:
            yield item * 2

    def lost(self, item: Any, cause: str) -> Any:
        return cause


@dataclass(frozen=True)
class EndsItsWorker:
    """Item that ends the first ``times`` processes that unpickle it, and is a number then."""

    folder: Path
    times: int

    def __reduce__(self) -> tuple[Callable[..., int], tuple[Path, int]]:
        return end_process, (self.folder, self.times)


def end_process(folder: Path, times: int) -> int:
    marks = len(list(folder.iterdir()))
    if marks >= times:
        return 100
    (folder / str(marks)).touch()
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


async def execute(scheduler: str, items: Sequence[Any]) -> list[Any]:
    from worker.cluster.executor import ClusterExecutor

    executor = ClusterExecutor(address=ClusterAddress(scheduler=scheduler), workers=2)
    async with aclosing(executor.results_in_order(Doubling(), items, 1.0)) as results:
        return [result async for result in results]


async def test_a_worker_that_is_killed_loses_no_result(tmp_path: Path, scheduler: str) -> None:
    items: list[Any] = list(range(200))
    items[90] = EndsItsWorker(tmp_path, 1)
    expected = [200 if n == 90 else 2 * n for n in range(200)]
    assert await execute(scheduler, items) == expected
    assert len(list(tmp_path.iterdir())) == 1


async def test_only_the_item_that_ends_every_worker_is_lost(tmp_path: Path) -> None:
    items: list[Any] = list(range(4))
    items[2] = EndsItsWorker(tmp_path, 1000)
    # It ends four: a nanny starts none again that has ended before it saw it run.
    with cluster_of(5) as address:
        results = await execute(address, items)
    assert results[2] == "ended 2 Dask workers"
    assert [*results[:2], *results[3:]] == [0, 2, 6]


def test_recordings_with_a_worker_killed_in_the_middle(tmp_path: Path, scheduler: str) -> None:
    (recording,) = record(tmp_path / "one", 1).iterdir()
    (tmp_path / "runs").mkdir()
    for n in range(200):
        (tmp_path / "runs" / f"r{n:03}").write_bytes(recording.read_bytes())
    alone = call_worker("replay", "runs", "-j", "1", cwd=tmp_path)
    line = [*WORKER, "replay", "runs", "--json", "--cluster", "local", "-j", "2"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        # Its runner has started, so that a chunk is on its way.
        wait_until(lambda: zygotes(process.pid))
        zygotes(process.pid)[0].parent().kill()
        output, _ = process.communicate(timeout=TIMEOUT_S)
    kinds = [json.loads(line)["kind"] for line in output.splitlines()]
    assert kinds == ["same"] * 200 and process.returncode == alone.returncode == 0
    assert "200 recordings: 200 the same" in alone.stdout


def processes(pid: int) -> list[Any]:
    """List the processes that a process has started, and those that these have started."""
    started: list[Any] = psutil.Process(pid).children(recursive=True)
    return started


def zygotes(pid: int) -> list[Any]:
    return [process for process in processes(pid) if any("zygote" in w for w in command(process))]


def command(process: Any) -> list[str]:
    try:
        words: list[str] = process.cmdline()
    except psutil.NoSuchProcess:
        return []
    return words


# --- ends and errors ------------------------------------------------------------------------------


def test_ctrl_c_cancels_and_leaves_no_process(tmp_path: Path) -> None:
    loop = {"adaptor": "common", "expression": "fn(state => { while (true) {} })"}
    (tmp_path / "w.json").write_text(json.dumps({"steps": [{"id": "a", **loop}]}))
    cases = [{"name": "loops", "timeout": 200, "expect": {"status": "killed"}}]
    (tmp_path / "w.cases.json").write_text(json.dumps({"workflow": "w.json", "cases": cases}))
    command = [*WORKER, "test", "w.cases.json", "--cluster", "local", "-j", "1"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        wait_until(lambda: zygotes(process.pid))
        everybody = processes(process.pid)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130 and "Traceback" not in errors
    wait_until(lambda: not any(process.is_running() for process in everybody))


INTERRUPTED_AT_ITS_START = """
import os, signal, subprocess, sys
from worker.cluster.cluster_client import ignored_interrupts
try:
    with ignored_interrupts():
        child = "import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
        subprocess.run([sys.executable, "-c", child], check=True)
        os.kill(os.getpid(), signal.SIGINT)
        print("started", flush=True)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_while_a_cluster_starts_is_not_lost() -> None:
    program = [sys.executable, "-c", INTERRUPTED_AT_ITS_START]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True", "started", "interrupted"], done.stderr


async def test_an_error_of_the_work_is_the_commands_error(scheduler: str) -> None:
    class Refusing(Doubling):
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return refuse, ()

    from worker.cluster.executor import ClusterExecutor

    executor = ClusterExecutor(address=ClusterAddress(scheduler=scheduler), workers=2)
    with pytest.raises(WorkerError, match="the workflow cannot run"):
        async with aclosing(executor.results_in_order(Refusing(), [1], 1.0)) as results:
            _ = [result async for result in results]


def refuse() -> None:
    raise WorkerError("the workflow cannot run")


def test_a_cluster_of_another_version_is_named(
    tmp_path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (recording,) = record(tmp_path / "runs", 1).iterdir()
    monkeypatch.setattr(
        "worker.cluster.cluster_client.describe_here",
        lambda: replace(describe_runner(), worker="9.9"),
    )
    done = call_worker("replay", recording, "--cluster", scheduler)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "has worker" in done.stderr and "this command 9.9" in done.stderr


def test_a_cluster_with_other_adaptors_is_named(
    tmp_path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (recording,) = record(tmp_path / "runs", 1).iterdir()
    ours = replace(describe_runner(), adaptors={"@mine/thing@1.0.0": "00"})
    monkeypatch.setattr("worker.cluster.cluster_client.describe_here", lambda: ours)
    done = call_worker("replay", recording, "--cluster", scheduler)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "lacks the adaptor @mine/thing@1.0.0\ninstall it there: worker adap" in done.stderr


def test_parts_without_the_worker_are_named(tmp_path: Path) -> None:
    # A package of the same name that has nothing in it, in front of the real one.
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker" / "__init__.py").touch()
    (tmp_path / "r").write_text('{"type":"recording"')
    file = tmp_path / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0"]
    options = ["--no-dashboard", "--host", "127.0.0.1", "--scheduler-file", str(file)]
    with subprocess.Popen([*command, *options], cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: file.exists() and file.read_text().endswith("}"))
            with distributed.Client(scheduler_file=str(file)) as client:
                worker = [
                    sys.executable,
                    "-m",
                    "distributed.cli.dask_worker",
                    client.scheduler.address,
                ]
                flags = ["--no-nanny", "--no-dashboard", "--local-directory", str(tmp_path)]
                with subprocess.Popen(
                    [*worker, *flags], cwd=tmp_path, stderr=subprocess.DEVNULL
                ) as second:
                    client.wait_for_workers(1)
                    done = call_worker("replay", tmp_path / "r", "--cluster", file)
                    second.terminate()
        finally:
            process.terminate()
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "cannot import worker" in done.stderr and "pip install" in done.stderr


def test_a_scheduler_that_does_not_answer_is_named(tmp_path: Path) -> None:
    (tmp_path / "r").write_text('{"type":"recording"')
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        done = call_worker("replay", tmp_path / "r", "--cluster", address)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    first, _ = done.stderr.splitlines()
    assert first == f"error: cannot reach a Dask scheduler at {address}: no answer"


def test_a_scheduler_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "r").write_text('{"type":"recording"')
    done = call_worker("replay", tmp_path / "r", "--cluster", "tcp://127.0.0.1:9")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    first, second = done.stderr.splitlines()
    reached = "cannot reach a Dask scheduler at tcp://127.0.0.1:9"
    # On a machine that is busy, the last of several attempts may not come to its end in time.
    assert first in {f"error: {reached}: {why}" for why in ("Connection refused", "no answer")}
    assert "dask scheduler" in second
