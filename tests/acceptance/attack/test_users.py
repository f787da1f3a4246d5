"""Attacks by code with root's rights, where root starts the worker: it has those of another user."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.support.command import call_worker
from tests.support.helpers import job, workflow
from worker.errors import UsageError
from worker.runner.pool import Pool
from worker.sandbox.confinement.layers import missing_layers
from worker.sandbox.isolation import Isolation
from worker.sandbox.runner_user import runner_user

as_root = pytest.mark.skipif(
    os.geteuid() != 0 or bool(missing_layers()), reason="only root can change the user"
)
PYTHON = (
    "import json\nfrom zoneinfo import ZoneInfo\ndef step(state): return {'data': json.dumps(1)}"
)


def ids(pid: str) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    names = ("Uid", "Gid", "Groups", "CapEff", "CapPrm")
    return {line.split(":")[0]: line.split()[1:] for line in lines if line.startswith(names)}


@pytest.mark.slow
@as_root
@pytest.mark.parametrize("isolation", [Isolation.RUNNER, Isolation.PROCESS])
async def test_processes_of_runs_have_a_user_of_their_own(
    monkeypatch: pytest.MonkeyPatch, isolation: Isolation
) -> None:
    """Looks at the rights of the process that forks runs, and of a runner: no way leads back."""
    monkeypatch.setenv("WORKER_RUN_AS", "10001:10002")
    async with Pool(size=1, isolation=isolation) as pool:
        assert (await pool.run(workflow(job("fn(s => s);")))).status == "success"
        children = Path(f"/proc/{pool.zygote_pid}/task/{pool.zygote_pid}/children")
        # The process of the next run may be under way only.
        async with asyncio.timeout(60):
            while not children.read_text():
                await asyncio.sleep(0.01)
        processes = [str(pool.zygote_pid), *children.read_text().split()]
        for pid in processes:
            rights = ids(pid)
            assert (rights["Uid"], rights["Gid"]) == (["10001"] * 4, ["10002"] * 4)
            assert rights["Groups"] == []


@pytest.mark.slow
@as_root
async def test_python_steps_and_limits_work_as_another_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORKER_RUN_AS", "65534")
    steps = {"id": "a", "adaptor": "python", "expression": PYTHON}
    endless = workflow(job("fn(s => { for (;;); });"))
    async with Pool(size=1) as pool:
        assert (await pool.run(workflow(steps))).status == "success"
        killed = await pool.run(endless, timeout=0.3)
        assert (killed.status, killed.error.type if killed.error else "") == (
            "killed", "TimeoutError",
        )  # fmt: skip


@pytest.mark.parametrize("text", ["0", "0:0", "root", "1001:", "-5", "10001:x", "1 "])
def test_what_is_no_user_is_an_error(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("WORKER_RUN_AS", text)
    with pytest.raises(UsageError, match="WORKER_RUN_AS"):
        Pool(size=1)


def test_only_root_can_change_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert runner_user() is None
    monkeypatch.setenv("WORKER_RUN_AS", "10001")
    with pytest.raises(UsageError, match="needs root, and this is the user 1000"):
        runner_user()


def test_a_command_reports_a_wrong_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORKER_RUN_AS", "0")
    (tmp_path / "j.js").write_text("fn(s => s);")
    done = call_worker("run", "j.js", cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "error: WORKER_RUN_AS: expected UID or UID:GID, such as 10001, found '0'" in done.stderr
