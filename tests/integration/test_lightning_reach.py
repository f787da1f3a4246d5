"""Lightning's runs: hosts that they reach, events one at a time, use of recordings."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import call_worker
from tests.support.lightning import attached, job, plan
from worker.adaptors.http.allowlist import Reach
from worker.adaptors.http.lazy_host import LazyHost
from worker.cli.lightning_process import LightningOptions, allowed_hosts
from worker.lightning.channels import Channel
from worker.replay.record_runs import record_in
from worker.runner.pool import Pool
from worker.sinks.log import stderr_logger
from worker.testing.lightning import Server

pytestmark = [pytest.mark.xdist_group("lightning"), pytest.mark.asyncio(loop_scope="module")]


PUBLIC, PRIVATE, NAMED = "api.example.org", "10.0.0.7", "db.internal"


@pytest.mark.parametrize(
    ("options", "open_hosts"),
    [
        ({}, {"own": {PUBLIC, NAMED}, "other": {PUBLIC}}),
        (
            {"allow_hosts": (PRIVATE,)},
            {"own": {PUBLIC, PRIVATE, NAMED}, "other": {PUBLIC, PRIVATE}},
        ),
        ({"public_hosts": False}, {"own": {NAMED}, "other": set()}),
        (
            {"public_hosts": False, "allow_hosts": (PUBLIC,)},
            {"own": {PUBLIC, NAMED}, "other": {PUBLIC}},
        ),
    ],
)
async def test_hosts_that_a_run_reaches(
    server: Server,
    pool: Pool,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    open_hosts: dict[str, set[str]],
) -> None:
    """Every public host, and a private one where a credential or --allow-host names it."""
    reaches: list[Reach] = []

    def open_host(reach: Reach) -> LazyHost:
        reaches.append(reach)
        return LazyHost(reach)

    monkeypatch.setattr("worker.lightning.sandbox_runs.LazyHost", open_host)
    settings = LightningOptions(url="ws://x/worker", name="w", outbox=Path("x"), **options)
    server.credentials["c"] = {"baseUrl": f"https://{NAMED}/api"}
    own, other = job("fn(s => s)", credential_id="c"), job("fn(s => s)")
    async with attached(server, pool, hosts=allowed_hosts(settings)):
        run = await server.wait(server.add_run(plan(own, other), {"data": {}}))
    assert run.state == "success"
    (reach,) = reaches
    for name, step in (("own", own), ("other", other)):
        assert {h for h in (PUBLIC, PRIVATE, NAMED) if is_open(reach, step["id"], h)} == (
            open_hosts[name]
        )


def is_open(reach: Reach, step: str, host: str) -> bool:
    patterns = [pattern for pattern in reach.of(step) if pattern.fits(host, 443)]
    # As at a connection, where the address is known: see test_live.
    return any(pattern.may_be_private or host == PUBLIC for pattern in patterns)


@pytest.mark.slow
async def test_events_of_a_run_are_sent_one_at_a_time(
    server: Server, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way: Counter[int] = Counter()
    most: Counter[int] = Counter()
    request = Channel.request

    async def counted(self: Channel, *arguments: Any, **options: Any) -> Any:
        under_way[id(self)] += 1
        most[id(self)] = max(most[id(self)], under_way[id(self)])
        try:
            return await request(self, *arguments, **options)
        finally:
            under_way[id(self)] -= 1

    monkeypatch.setattr(Channel, "request", counted)
    source = "fn(s => { for (let i = 0; i < 20; i++) console.log(i); return s; })"
    async with attached(server, pool, capacity=2):
        ids = [server.add_run(plan(job(source), job(source)), {"data": {}}) for _ in range(2)]
        await server.announce()
        for run_id in ids:
            await server.wait(run_id)
    assert set(most.values()) == {1} and len(most) == 3
    assert not server.violations


@pytest.mark.slow
async def test_recordings_are_for_replay_report_and_cases(
    server: Server, pool: Pool, tmp_path: Path
) -> None:
    start = record_in(tmp_path / "runs", stderr_logger(50))
    async with attached(server, pool, start_recording=start):
        await server.wait(server.add_run(plan(job("fn(s => ({data: {n: 1}}))")), {"data": {}}))
    (file,) = (tmp_path / "runs").iterdir()
    for command in (
        ("replay", file),
        ("report", file, "-o", tmp_path / "report.html"),
        ("replay", file, "--write-cases", tmp_path / "w.cases.yaml"),
        ("test", tmp_path / "w.cases.yaml"),
    ):
        # In a thread: commands start event loops of their own.
        done = await asyncio.to_thread(call_worker, *command)
        assert done.returncode == 0, done.stdout + done.stderr
