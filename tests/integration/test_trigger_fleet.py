"""Triggers over a real broker and HTTP, with processes of their own."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support import trigger_chaos
from tests.support.fleets import fleet, needs_mosquitto
from tests.support.triggers import triggered_workflow
from worker.fleet.messaging.address import parse_address
from worker.fleet.messaging.broker import free_port
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.mqtt import MqttBus

pytestmark = [needs_mosquitto, pytest.mark.slow]


def project(code: str) -> dict[str, Any]:
    triggers = {
        "messages": {"type": "mqtt", "topic": "clinic/+/in", "idempotency": "id",
                     "reply": "after_completion", "reply_topic": "clinic/replies/+"},
        "hook": {"type": "webhook", "custom_path": "in", "webhook_reply": "after_completion"},
    }  # fmt: skip
    return {"workflows": {"w": triggered_workflow("Clinic", code, triggers)}}


async def _reply(bus: MqttBus, message: Message) -> Message:
    """Publish a message until its reply arrives."""
    async with asyncio.timeout(90):
        while True:
            with contextlib.suppress(ConnectionError):
                await bus.confirm(message)
            for arrival in await bus.receive(2.0):
                if isinstance(arrival, Message):
                    return arrival


async def test_messages_and_calls_over_a_broker(tmp_path: Path) -> None:
    file, port = tmp_path / "project.yaml", free_port()
    file.write_text(yaml.safe_dump(project("fn((state) => ({ data: { seen: state.data.id } }))")))
    with fleet(tmp_path) as made:
        made.control("--webhooks", f"127.0.0.1:{port}")
        made.worker()
        operator = made.url.replace("//", "//operator@")
        refused = made.command("deploy", str(file))
        assert refused.returncode != 0
        assert "for the user 'operator'" in refused.stderr
        deployed = made.alone("deploy", str(file), "--mqtt", operator, "--reply-timeout", "60")
        assert deployed.stdout.startswith("Clinic: deployed, "), deployed.stderr
        async with MqttBus(parse_address(made.url), "clinic/replies/+") as bus:
            message = Message(
                topic="clinic/a/in", payload=b'{"id": 7}', properties=(("id", "m-7"),),
                reply_to="clinic/replies/me", correlation=b"c-7",
            )  # fmt: skip
            reply = await _reply(bus, message)
        content = json.loads(reply.payload)
        assert (reply.topic, reply.correlation) == ("clinic/replies/me", b"c-7")
        assert (content["status"], content["data"]) == ("success", {"data": {"seen": 7}})
        async with httpx.AsyncClient(timeout=60) as http:
            answer = await http.post(f"http://127.0.0.1:{port}/i/in", json={"id": 8})
        assert answer.json()["data"] == {"data": {"seen": 8}}
        shown = made.command("workflows", "show", "Clinic").stdout
        assert "messages: mqtt clinic/+/in (live, fired 1)" in shown
        assert "hook: webhook in (live, fired 1)" in shown


def test_messages_while_processes_end(tmp_path: Path) -> None:
    options = argparse.Namespace(messages=500, seed=1, kill_broker=False)
    store = f"sqlite:///{tmp_path}/orders.db"
    text = asyncio.run(trigger_chaos.check(tmp_path, options, store, 1))
    assert "each with one order" in text
