"""Attacks on secrets beside the mask: what others read of the processes, and of what tools write."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.helpers import job, workflow
from worker.adaptors.http.exchange import HttpRequest
from worker.cli.main import cli
from worker.core.events import AnyEvent, StepStart
from worker.replay.recorder import PreparedRecording
from worker.runner.pool import Pool
from worker.runner.prepare import Options
from worker.workflow.load import load

SECRET = "s3cr3t-hunter2"
INLINE = "1nl1ne-hunter2"
linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


@linux
async def test_the_process_list_has_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads the command lines and environments of all processes of a run that has a credential."""
    monkeypatch.setenv("WORKER_MQTT_PASSWORD", SECRET)
    waits = "fn((state) => new Promise((resolve) => setTimeout(() => resolve(state), 60000)));"
    flow = workflow(job(waits, configuration="keys"))
    credentials = {"keys": {"password": SECRET}}
    begun = BegunStep()
    cancel = asyncio.Event()
    async with Pool(1) as pool:
        run = asyncio.create_task(
            pool.run(
                flow,
                {"configuration": {"token": SECRET}},
                options=Options(credentials=credentials),
                sinks=[begun],
                cancel=cancel,
            )
        )
        async with asyncio.timeout(30):
            await begun.event.wait()
        listed = [read_process(pid) for pid in processes_below(pool.zygote_pid)]
        cancel.set()
        await run
    assert len(listed) > 1 and any("zygote" in text for text in listed)
    assert not any(SECRET in text for text in listed)


class BegunStep:
    """Sink whose ``event`` is set when a step has begun."""

    def __init__(self) -> None:
        self.event = asyncio.Event()

    def receive(self, event: AnyEvent) -> None:
        if isinstance(event, StepStart):
            self.event.set()

    def close(self) -> None:
        """Close nothing."""


def processes_below(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(below for child in children for below in processes_below(int(child)))]


def read_process(pid: int) -> str:
    texts = [Path(f"/proc/{pid}/cmdline").read_bytes()]
    # Nobody but root reads that of a process that is not dumpable.
    with contextlib.suppress(PermissionError):
        texts.append(Path(f"/proc/{pid}/environ").read_bytes())
    return b"\0".join(texts).decode(errors="replace")


@pytest.mark.slow
@linux
@pytest.mark.parametrize(
    "reads",
    [
        "from worker.cli.files import read_credentials; read_credentials(Path(sys.argv[1]))",
        "from worker.cli.services import service_log; service_log(quiet=True)",
    ],
    ids=["a command with credentials", "a service"],
)
def test_no_other_process_reads_the_memory_of_one_with_secrets(reads: str, tmp_path: Path) -> None:
    """Reads a credential from the memory, or from the core file, of the command that has it."""
    (tmp_path / "c.json").write_text(json.dumps({"keys": {"password": SECRET}}))
    is_dumpable = "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    code = f"import ctypes, sys; from pathlib import Path; {reads}; {is_dumpable}"
    line = [sys.executable, "-c", code, str(tmp_path / "c.json")]
    assert subprocess.run(line, capture_output=True, text=True, check=True).stdout == "0\n"


@pytest.mark.slow
def test_no_tool_writes_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads a credential from what is written about a workflow, a run and its cases."""
    monkeypatch.chdir(tmp_path)
    source = "fn((s) => { throw new Error(s.configuration.password + s.configuration.inline); });"
    own = {"inline": INLINE, "baseUrl": f"https://u:{INLINE}@h/"}
    steps = [
        job("fn((s) => s);", configuration=own, next={"b": "state.x"}),
        job(source, "b", configuration="keys", state={"configuration": {"other": INLINE}}),
    ]
    plan = {"workflow": {"name": "w", "credentials": {"shared": INLINE}, "steps": steps}}
    Path("w.json").write_text(json.dumps(plan))
    Path("v.json").write_text(Path("w.json").read_text().replace(INLINE, f"{INLINE}-2"))
    Path("c.json").write_text(json.dumps({"keys": {"password": SECRET, "inline": INLINE}}))
    printed = [
        CliRunner().invoke(cli, line.split(), prog_name="worker").output
        for line in (
            "run w.json --credentials c.json --record r.jsonl -q",
            "replay r.jsonl --write-cases r.cases.yaml",
            "test r.cases.yaml --junit junit.xml",
            "lint w.json --format sarif",
            "graph w.json --format html",
            "diff w.json v.json --format markdown",
            "diff w.json v.json --html diff.html",
            "explore w.json --write-cases e.cases.yaml",
        )
    ]
    written = [
        file for file in tmp_path.iterdir() if file.name not in ("w.json", "v.json", "c.json")
    ]
    assert {"r.jsonl", "r.cases.yaml", "junit.xml", "diff.html"} <= {file.name for file in written}
    assert "***" in Path("r.jsonl").read_text() and "sarif" in printed[3]
    for text in (*printed, *(file.read_text() for file in written)):
        assert SECRET not in text and INLINE not in text


def test_a_request_that_is_recorded_has_no_credential_of_the_workflow() -> None:
    """Reads a credential from a recorded request: one that the workflow gives to every step."""
    flow = load({"workflow": {"steps": [{"id": "a"}], "credentials": {"token": SECRET}}})
    scrubber = PreparedRecording(flow, Options()).scrubber
    url = f"https://h.test/?token={SECRET}"
    assert SECRET not in scrubber.request(HttpRequest(method="GET", url=url)).url
