"""Fleets on brokers with a limit of packets: large data passes, and delays nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from tests.support.control_plane_harness import REGISTRY, TOPICS
from tests.support.fleets import needs_mosquitto
from worker.core.events import AnyEvent, Dataclip, RunComplete, RunStart
from worker.errors import UsageError
from worker.fleet.client import Client
from worker.fleet.control.message_processor import MessageProcessor
from worker.fleet.control.policy import Policy
from worker.fleet.control.service import ControlPlane
from worker.fleet.control.store.store import Store
from worker.fleet.control_errors import ControlError
from worker.fleet.messaging.address import parse_address
from worker.fleet.messaging.broker import Broker
from worker.fleet.messaging.bus import BrokerRefusal, Connected, Message
from worker.fleet.messaging.mqtt import MqttBus
from worker.fleet.messaging.worker_protocol import AssignedRun
from worker.fleet.worker.fleet_worker import FleetWorker
from worker.fleet.worker.outbox import Outbox
from worker.sinks.log import stderr_logger
from worker.util.machine_clock import now_us

pytestmark = needs_mosquitto
QUIET = stderr_logger(logging.CRITICAL)
KB = 1024


class Echo:
    """Executor whose runs end with their input as the final state."""

    async def execute(
        self, run: AssignedRun, receive: Callable[[AnyEvent], None], cancel: asyncio.Event
    ) -> None:
        run_id = run.lease.run_id
        receive(RunStart(run_id=run_id, seq=0, timestamp=now_us(), workflow="flow", versions={}))
        receive(
            RunComplete(
                run_id=run_id, seq=1, timestamp=now_us(), reason="success",
                final_state=Dataclip(bytes(run.input).decode()), final_dataclip_id="c1",
            )
        )  # fmt: skip


@contextlib.asynccontextmanager
async def fleet(folder: Path, broker: Broker, **bus: Any) -> AsyncIterator[Client]:
    """Run a control plane and a worker on a broker; yield a client."""

    def connection(*filters: str, id: str) -> MqttBus:
        return MqttBus(parse_address(broker.url), *filters, id=id, **bus)

    store = Store("sqlite://")
    store.migrate()
    policy = Policy(allows_everything=True)
    processor = MessageProcessor(store, topics=TOPICS, registry=REGISTRY, policy=policy)
    plane_bus = connection(*TOPICS.for_control(), id="control")
    plane = ControlPlane(plane_bus, processor, topics=TOPICS, log=QUIET)
    worker = FleetWorker(
        connection(*TOPICS.for_worker("w"), id="worker-w"), Echo(), Outbox(folder / "outbox"),
        name="w", capacity=4, topics=TOPICS, log=QUIET,
    )  # fmt: skip
    tasks = [asyncio.create_task(part.run()) for part in (plane, worker)]
    try:
        async with Client(connection(id="me"), TOPICS, name="me", wait_s=30) as client:
            await client.summary()
            yield client
    finally:
        for task in reversed(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        store.close()


def limited(limit_bytes: int) -> str:
    return f"allow_anonymous true\nmax_packet_size {limit_bytes}"


@pytest.mark.parametrize("limit_kb", [128, pytest.param(1024, marks=pytest.mark.slow)])
async def test_a_fleet_passes_data_that_no_packet_has_room_for(
    tmp_path: Path, limit_kb: int
) -> None:
    inputs = {f"o{number}": {"data": str(number) * 400 * KB} for number in range(4)}
    with Broker(access=limited(limit_kb * KB)) as broker:
        async with fleet(tmp_path, broker) as client:
            orders = await asyncio.gather(
                *(client.submit(workflow="flow", input=input, order_id=order_id)
                  for order_id, input in inputs.items())
            )  # fmt: skip
            small = await client.submit(workflow="flow", input={"data": "small"}, project="other")
            for order in [small, *orders]:
                run = await client.wait(order["last_run"])
                assert (run["status"], run["attempt"]) == ("success", 1)
            for order_id, input in inputs.items():
                assert await client.final_state(order_id) == input


@pytest.mark.slow
async def test_an_order_over_the_limit_is_refused_with_the_limit_on_any_broker(
    tmp_path: Path,
) -> None:
    with Broker(access=limited(128 * KB)) as broker:
        async with fleet(tmp_path, broker) as client:
            with pytest.raises(ControlError, match="the limit is 33,554,432") as error:
                await client.submit(workflow="flow", input={"data": "x" * 33 * KB * KB})
            assert error.value.code == "too_large"


def project_of(*sizes: int, code: str = "fn(s => s)") -> str:
    """Return a project of workflows whose jobs have code of about these sizes."""
    flows = {}
    for number, size in enumerate(sizes):
        body = f"{code} // {'x' * size}"
        trigger = {"type": "webhook", "custom_path": f"large/{number}"}
        edge = {"source_trigger": "in", "target_job": "a", "condition_type": "always"}
        flows[f"flow-{number}"] = {
            "name": f"Flow {number}",
            "jobs": {"a": {"adaptor": "common", "body": body}},
            "triggers": {"in": trigger},
            "edges": {"in->a": edge},
        }
    return yaml.safe_dump({"workflows": flows})


@pytest.mark.slow
async def test_a_project_that_no_packet_has_room_for_is_deployed_whole_or_not_at_all(
    tmp_path: Path,
) -> None:
    file = tmp_path / "project.yaml"
    with Broker(access=limited(64 * KB)) as broker:
        async with fleet(tmp_path, broker) as client:
            file.write_text(project_of(300 * KB, 10, 200 * KB))
            before = await client.deploy(file)
            assert [each["changed"] for each in before] == [True, True, True]
            assert len(await client.deployments()) == 3
            # The last of the new versions is refused, after the others were received.
            last = project_of(300 * KB, 10, 200 * KB, code="fn(s => 2)").replace(
                "large/2", "../large"
            )
            file.write_text(last)
            with pytest.raises(ControlError, match="'Flow 2'"):
                await client.deploy(file)
            deployed = await client.deployments()
            versions = {each["name"]: each["version"] for each in deployed}
            assert versions == {each["name"]: each["version"] for each in before}
            # A plan that no packet has room for runs, too.
            order = await client.submit(workflow="Flow 0", input={"data": 1})
            run = await client.wait(order["last_run"])
            assert run["status"] == "success"


@pytest.mark.slow
async def test_a_limit_of_ones_own_is_respected_on_a_broker_without(tmp_path: Path) -> None:
    with Broker() as broker:
        async with fleet(tmp_path, broker, max_packet_bytes=64 * KB) as client:
            order = await client.submit(workflow="flow", input={"data": "x" * 300 * KB})
            await client.wait(order["last_run"])
            assert await client.final_state(order["order_id"]) == {"data": "x" * 300 * KB}


async def test_a_message_over_the_limit_is_refused_here_and_not_by_the_broker() -> None:
    with Broker(access=limited(128 * KB)) as broker:
        async with MqttBus(parse_address(broker.url), id="x") as bus:
            while Connected() not in await bus.receive():
                pass
            assert bus.max_message_bytes < 128 * KB
            with pytest.raises(BrokerRefusal, match="the limit of a packet is 131,072"):
                await bus.confirm(Message(topic="worker/v1/x", payload=b"x" * 128 * KB))
            await bus.confirm(Message(topic="worker/v1/x", payload=b"x"))
            # With all that is around it, which others may have chosen.
            large = Message(
                topic="worker/v1/x", payload=b"x" * 100 * KB, correlation=b"c" * 40 * KB
            )
            with pytest.raises(BrokerRefusal, match="the limit of a packet is 131,072"):
                await bus.confirm(large)
            await bus.confirm(Message(topic="worker/v1/x", payload=b"x"))
    with pytest.raises(UsageError, match="packets need"):
        MqttBus(parse_address("mqtt://localhost"), max_packet_bytes=1000)


async def test_a_broker_whose_limit_is_too_small_is_named_as_such() -> None:
    with Broker(access=limited(4 * KB)) as broker:
        async with MqttBus(parse_address(broker.url), id="x") as bus:
            (arrival,) = await bus.receive()
            assert (
                "limit of 4,096 bytes a packet is too small"
                in msgspec.json.encode(str(arrival)).decode()
            )
