"""Adaptors that Lightning's runs lack: installed before the run, and shared by all that wait."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from tests.support.fake_adaptors import store_bundle
from tests.support.lightning import attached, job, plan
from worker.adaptors.names import Specifier
from worker.errors import UsageError
from worker.runner.pool import Pool
from worker.testing.lightning import Server, ServerRun

pytestmark = [pytest.mark.xdist_group("lightning"), pytest.mark.asyncio(loop_scope="module")]

BUNDLE = "globalThis.__adaptor = {fn: f => f, add: n => s => ({...s, data: {n}})};"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_CACHE", str(tmp_path))


class Installing:
    """Installation in place of npm's, which waits until it is released."""

    def __init__(self, problem: str = "") -> None:
        self.began: list[str] = []
        self.arrived, self.release, self.ended = [threading.Event() for _ in range(3)]
        self._problem = problem

    def __call__(self, specifier: Specifier) -> None:
        self.began.append(str(specifier))
        self.arrived.set()
        assert self.release.wait(30)
        if self._problem:
            raise UsageError(self._problem)
        store_bundle(str(specifier), BUNDLE)
        self.ended.set()


def started(run: ServerRun) -> bool:
    return any(event == "run:start" for event, _ in run.events)


async def test_runs_share_an_installation_and_claims_go_on(server: Server, pool: Pool) -> None:
    installing = Installing()
    lacking = plan(job("add(7)", adaptor="@openfn/language-adder@1.2.3"))
    async with attached(server, pool, capacity=4, install=installing) as worker:
        waiting = [server.add_run(lacking, {"data": {}}) for _ in range(2)]
        await server.announce()
        assert await asyncio.to_thread(installing.arrived.wait, 30)
        other = await server.wait(server.add_run(plan(job("fn(s => s)")), {"data": {}}))
        assert other.state == "success"
        assert not any(started(server.runs[id]) for id in waiting)
        installing.release.set()
        runs = [await server.wait(id) for id in waiting]
        assert {run.complete["final_state"]["data"]["n"] for run in runs if run.complete} == {7}
        # Installed now, so that nothing is fetched again.
        later = await server.wait(server.add_run(lacking, {"data": {}}))
        assert later.state == "success"
    assert installing.began == ["@openfn/language-adder@1.2.3"]
    assert worker.log.names.count("adaptor.installed") == 1
    assert not server.violations


@pytest.mark.parametrize(
    ("adaptor", "allowed", "problem", "message"),
    [
        ("http@7.2.10", (), "no version", "Error installing @openfn/language-http@7.2.10: no ver"),
        ("@mine/thing@1.0.0", ("@mine/other",), "", "installs adaptors of @openfn/ alone"),
        ("@mine/thing@1.0.0", ("@mine/thing",), "no network", "no network"),
        ("http@local", (), "", "http@local: it is not installed"),
    ],
)
async def test_what_cannot_be_installed_is_an_exception_before_any_step(
    server: Server, pool: Pool, adaptor: str, allowed: tuple[str, ...], problem: str, message: str
) -> None:
    installing = Installing(problem)
    installing.release.set()
    async with attached(server, pool, install=installing, allow_adaptors=allowed):
        run = await server.wait(server.add_run(plan(job("fn(s => s)", adaptor=adaptor))))
    assert run.complete is not None and run.state == "exception"
    assert run.complete["error_type"] == "AutoinstallError"
    assert message in run.complete["error_message"]
    assert not started(run) and not run.steps and not server.violations
    assert len(installing.began) == bool(problem)


@pytest.mark.slow
async def test_a_run_that_is_not_wanted_any_more_does_not_wait(server: Server, pool: Pool) -> None:
    installing = Installing()
    lacking = plan(job("add(1)", adaptor="@openfn/language-late@1.0.0"))
    async with attached(server, pool, capacity=1, install=installing):
        closed = server.add_run(lacking, {"data": {}})
        assert await asyncio.to_thread(installing.arrived.wait, 30)
        await server.close_channel(f"run:{closed}")
        # Its place is free while the installation still goes on.
        other = await server.wait(server.add_run(plan(job("fn(s => s)")), {"data": {}}))
        assert other.state == "success" and not started(server.runs[closed])
        installing.release.set()
        assert await asyncio.to_thread(installing.ended.wait, 30)
