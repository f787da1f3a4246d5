"""Publishers with MQTT 3.1.1, which has no response topics, no reason codes and no properties."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
import yaml
from paho.mqtt import publish

from tests.integration.test_local_fleet import TOPICS
from tests.support.fleets import Fleet, FleetProcess, fleet, needs_mosquitto
from tests.support.triggers import triggered_workflow
from worker.fleet.messaging.address import parse_address

pytestmark = [needs_mosquitto, pytest.mark.slow]


def send(made: Fleet, topic: str, content: bytes, qos: int = 1) -> None:
    """Publish with MQTT 3.1.1, and wait for the broker's acknowledgement."""
    address = parse_address(made.url)
    publish.single(
        topic, content, qos=qos, hostname=address.host, port=address.port, protocol=paho.MQTTv311
    )


async def refusal(plane: FleetProcess, text: str) -> dict[str, Any]:
    """Wait for the log of a refusal that has a text."""
    async with asyncio.timeout(60):
        while True:
            for entry in plane.log_entries():
                if entry["event"] == "message.refused" and text in json.dumps(entry):
                    return entry
            await asyncio.sleep(0.02)


async def test_orders_and_topic_triggers_of_mqtt_3(tmp_path: Path) -> None:
    file = tmp_path / "project.yaml"
    trigger = {"messages": {"type": "mqtt", "topic": "clinic/+/in"}}
    code = "fn((state) => ({ data: { seen: state.data.id } }))"
    file.write_text(
        yaml.safe_dump({"workflows": {"w": triggered_workflow("Clinic", code, trigger)}})
    )
    with fleet(tmp_path) as made:
        plane = made.control()
        made.worker()
        async with made.listener() as listener, made.client(wait_s=60) as client:
            await client.summary()
            order = {
                "workflow": "Failed job error",
                "order_id": "device-7",
                "input": {"data": {"requested": 2, "stock": 1}},
            }
            for qos in (0, 1, 2):
                send(made, TOPICS.request("submit"), json.dumps(order).encode(), qos)
            state = await listener.until(
                "orders/device-7/state", lambda state: state["status"] not in ("pending", "running")
            )
            assert (state["order_id"], state["status"]) == ("device-7", "failed")
            assert len(await client.orders()) == 1, "one order of three messages"

            # Refused where the operator sees it: there is nobody to reply to.
            send(made, TOPICS.request("submit"), b'{"workflow": "nowhere", "input": {}}')
            assert (await refusal(plane, "nowhere"))["topic"] == TOPICS.request("submit")
            send(made, TOPICS.request("submit"), b"21.5")
            assert (await refusal(plane, "malformed"))["topic"] == TOPICS.request("submit")
            changed = {**order, "input": {}}
            send(made, TOPICS.request("submit"), json.dumps(changed).encode())
            assert "device-7" in (await refusal(plane, "conflict"))["error"]

            operator = made.url.replace("//", "//operator@")
            deployed = made.alone("deploy", str(file), "--mqtt", operator, "--reply-timeout", "60")
            assert deployed.returncode == 0, deployed.stderr
            async with asyncio.timeout(60):
                while len(orders := await client.orders()) < 2:
                    # The control plane may not have subscribed yet.
                    await asyncio.to_thread(send, made, "clinic/a/in", b'{"id": 7}')
            (fired,) = [order for order in orders if order["order_id"] != "device-7"][:1]
            run = await client.wait(fired["last_run"])
            assert run["status"] == "success"
