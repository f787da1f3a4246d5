"""Effects of runs, counted outside of the fleet, while messages are lost. In one process."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_local_fleet import QUICK, Small, small
from tests.support.event_names import EventNames
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.messaging.bus import BrokerRefusal, Message

SHORT = Settings(lease_s=1.0, disconnect_grace_s=0.2)


def mute(made: Small, *channels: str) -> asyncio.Event:
    """Lose the worker's messages on these channels; set the event when the first is lost."""
    lost, publish = asyncio.Event(), made.bus.publish

    def publish_or_lose(message: Message) -> None:
        if message.topic.rsplit("/", 1)[1] in channels:
            lost.set()
        else:
            publish(message)

    made.bus.publish = publish_or_lose  # type: ignore[method-assign]
    return lost


def listen(made: Small) -> None:
    del made.bus.publish


@pytest.mark.slow
async def test_a_run_whose_start_is_not_heard_is_not_executed_and_waits_again(
    tmp_path: Path,
) -> None:
    async with small(tmp_path, SHORT) as made:
        lost = mute(made, "start", "beat", "release", "reports")
        order = await made.client.submit(plan=QUICK)
        async with asyncio.timeout(60):
            await lost.wait()
            while (await made.client.run(order["last_run"]))["attempt"] == 1:
                await asyncio.sleep(0.01)
        assert made.executor.ends == {}, "no effect"
        listen(made)
        run, receive, _ = await made.executor.runs.get()
        assert run.lease.attempt > 1
        made.executor.finish(run, receive)
        assert (await made.client.wait(order["last_run"]))["status"] == "success"
        assert len(made.executor.ends) == 1, "one effect"


async def test_a_start_whose_response_is_lost_is_repeated_and_executed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.fleet.worker.claimed_runs.REPEAT_START_S", 0.05)
    async with small(tmp_path) as made:
        deliver, lost = made.bus.deliver, asyncio.Event()

        def deliver_or_lose(arrival: Any) -> None:
            if (
                isinstance(arrival, Message)
                and b'"starts"' in arrival.payload
                and not lost.is_set()
            ):
                lost.set()
            else:
                deliver(arrival)

        made.bus.deliver = deliver_or_lose  # type: ignore[method-assign]
        order = await made.client.submit(plan=QUICK)
        run, receive, _ = await made.executor.runs.get()
        assert lost.is_set()
        made.executor.finish(run, receive)
        assert (await made.client.wait(order["last_run"]))["status"] == "success"
        assert list(made.executor.ends) == [(order["last_run"], 1)]


async def test_a_worker_that_drains_hands_back_what_it_has_not_started(tmp_path: Path) -> None:
    async with small(tmp_path) as made:
        first, second = [await made.client.submit(plan=QUICK) for _ in range(2)]
        runs = [await made.executor.runs.get() for _ in range(2)]
        made.worker_.drain(60)
        third = await made.client.submit(plan=QUICK)
        for run, receive, _ in runs:
            made.executor.finish(run, receive)
        for order in (first, second):
            assert (await made.client.wait(order["last_run"]))["status"] == "success"
        assert (await made.client.run(third["last_run"]))["status"] == "pending"


async def test_a_worker_that_drains_waits_for_its_runs_as_long_as_they_take(
    tmp_path: Path,
) -> None:
    async with small(tmp_path) as made:
        order = await made.client.submit(plan=QUICK)
        run, receive, _ = await made.executor.runs.get()
        made.worker_.drain()
        made.executor.finish(run, receive)
        assert (await made.client.wait(order["last_run"]))["status"] == "success"


async def test_a_run_that_a_drain_cuts_short_says_so(tmp_path: Path) -> None:
    async with small(tmp_path) as made:
        order = await made.client.submit(plan=QUICK)
        await made.executor.runs.get()
        made.worker_.drain(0.0)
        lost = await made.client.wait(order["last_run"])
        assert (lost["status"], lost["error_type"]) == ("lost", "LostAfterStart")
        assert lost["error_message"].endswith("its drain time of 0 s was over")


async def ended(made: Small) -> list[str]:
    """Wait until the worker has ended. Return the names of what it logs meanwhile."""
    made.worker_._log = log = EventNames()
    async with asyncio.timeout(60):
        await made.processes[1]
    return log.names


@pytest.mark.slow
async def test_a_worker_that_drains_without_a_broker_leaves_its_reports_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.fleet.worker.drain.RESPONSE_DRAIN_S", math.inf)
    async with small(tmp_path, SHORT) as made:
        await made.client.submit(plan=QUICK)
        run, receive, _ = await made.executor.runs.get()
        made.bus.drop_connection()
        made.executor.finish(run, receive)
        made.worker_.drain()
        assert "reports.unacknowledged" in await ended(made)
    (file,) = (tmp_path / "outbox").glob("*.jsonl")
    assert "run:complete" in file.read_text()


async def test_a_worker_that_drains_waits_for_no_start_that_is_never_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.fleet.worker.drain.RESPONSE_DRAIN_S", 0.0)
    async with small(tmp_path) as made:
        lost = mute(made, "start")
        await made.client.submit(plan=QUICK)
        async with asyncio.timeout(60):
            await lost.wait()
        made.worker_.drain()
        await ended(made)
        assert made.executor.ends == {}, "no effect"


async def test_a_worker_whose_claims_the_broker_denies_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.fleet.worker.claim_demand.REPEAT_CLAIM_S", 0.0)

    async def deny(message: Message) -> None:
        raise BrokerRefusal(f"the broker refuses messages on {message.topic}")

    async with small(tmp_path) as made:
        confirm = made.bus.confirm
        made.bus.confirm = deny  # type: ignore[method-assign]
        async with asyncio.timeout(60):
            while "refuses messages on worker/v1/workers/w/claim" not in made.worker_.problem:
                await asyncio.sleep(0.01)
            made.bus.confirm = confirm  # type: ignore[method-assign]
            while made.worker_.problem:
                await asyncio.sleep(0.01)
