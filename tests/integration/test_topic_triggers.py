"""Topic triggers: messages that become orders, in a local fleet and over a broker."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import worker
from tests.support.triggers import triggered_workflow
from worker.fleet.client import Client

ECHO = "fn((state) => ({ data: state.data, request: state.request }))"


def project(folder: Path, code: str = ECHO, **trigger: Any) -> Path:
    """Write a project with one topic trigger."""
    fields = {"type": "mqtt", "topic": "clinic/+/referral", **trigger}
    workflow = triggered_workflow("Referral", code, {"intake": fields})
    file = folder / "project.yaml"
    file.write_text(yaml.safe_dump({"workflows": {"referral": workflow}}))
    return file


@pytest.fixture
async def fleet() -> AsyncIterator[Client]:
    async with worker.local_fleet() as client:
        yield client


async def orders(client: Client, count: int) -> list[dict[str, Any]]:
    """Wait until there are so many orders that have ended, oldest first."""
    async with asyncio.timeout(60):
        while True:
            listed = await client.orders()
            if len(listed) >= count and all(
                order["status"] not in ("pending", "running") for order in listed
            ):
                return sorted(listed, key=lambda order: int(order["created"]))
            await asyncio.sleep(0.02)


async def dead_letters(client: Client, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(60):
        while len(letters := await client.dead_letters()) < count:
            await asyncio.sleep(0.02)
        return letters[::-1]


async def live(client: Client) -> None:
    """Wait until a message reaches the trigger: the subscription is made after the deployment."""
    async with asyncio.timeout(30):
        while True:
            await client.publish("clinic/probe/referral", b"{not json")
            await asyncio.sleep(0.05)
            if await client.dead_letters():
                return


@pytest.mark.slow
async def test_each_message_becomes_an_order(fleet: Client, tmp_path: Path) -> None:
    await fleet.deploy(project(tmp_path, idempotency="$.id"))
    await live(fleet)
    secret = {"api-key": "s3cr3t", "source": "clinic"}
    for id in ("a", "b", "a"):
        await fleet.publish("clinic/north/referral", {"id": id, "age": 5}, properties=secret)
    await fleet.publish("elsewhere/referral", {"id": "c"})
    listed = await orders(fleet, 2)
    assert [order["status"] for order in listed] == ["success", "success"]
    assert await fleet.final_state(listed[0]["last_run"]) == {
        "data": {"id": "a", "age": 5},
        "request": {
            "topic": "clinic/north/referral", "qos": 1,
            "properties": {"api-key": "***", "source": "clinic"},
        },
    }  # fmt: skip
    # Whoever knows the id of the message knows the id of its order.
    (trigger,) = (await fleet.deployed_workflow("Referral"))["triggers"]
    digest = hashlib.sha256(f"{trigger['id']}\0a".encode()).hexdigest()
    assert listed[0]["order_id"] == f"t-{digest[:40]}"
    assert trigger["fired"] == 2


@pytest.mark.slow
async def test_what_is_no_message_becomes_a_dead_letter(fleet: Client, tmp_path: Path) -> None:
    await fleet.deploy(project(tmp_path, idempotency="$.id", max_mb=0.01))
    await live(fleet)
    before = len(await fleet.dead_letters())
    await fleet.publish("clinic/a/referral", b'{"id": 1')
    await fleet.publish("clinic/a/referral", b"\xff\xfe")
    await fleet.publish("clinic/a/referral", b'{"id": "' + b"x" * 20_000 + b'"}')
    await fleet.publish("clinic/a/referral", b"[" * 5_000 + b"]" * 5_000)
    await fleet.publish("clinic/a/referral", {"id": None})
    await fleet.publish("clinic/a/referral", {"id": "good"})
    letters = (await dead_letters(fleet, before + 5))[before:]
    assert [letter["reason"] for letter in letters] == [
        "not_json", "not_json", "too_large", "too_deep", "no_key",
    ]  # fmt: skip
    assert len(await orders(fleet, 1)) == 1


@pytest.mark.slow
async def test_a_filter_runs_in_the_sandbox(fleet: Client, tmp_path: Path) -> None:
    filter = "state.data.loop ? (() => { for (;;); })() : state.data.patient.age > 17"
    await fleet.deploy(project(tmp_path, filter=filter))
    await live(fleet)
    before = len(await fleet.dead_letters())
    for content in ({"patient": {"age": 5}}, {}, {"loop": True}, {"patient": {"age": 40}}):
        await fleet.publish("clinic/a/referral", content)
    (order,) = await orders(fleet, 1)
    assert (await fleet.final_state(order["last_run"]))["data"] == {"patient": {"age": 40}}
    letters = (await dead_letters(fleet, before + 2))[before:]
    assert [letter["reason"] for letter in letters] == ["filter_failed", "filter_failed"]
    assert "Cannot read properties of undefined (reading 'age')" in letters[0]["message"]
    assert letters[1]["message"] == "the filter took longer than 100 ms"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "payload", "data"),
    [("text", "grüße".encode(), "grüße"), ("bytes", b"\xff\x00", "/wA=")],
)
async def test_formats(
    fleet: Client, tmp_path: Path, format: str, payload: bytes, data: str
) -> None:
    code = "fn((state) => ({ content: state.data }))"
    await fleet.deploy(project(tmp_path, code=code, format=format, idempotency="content"))
    async with asyncio.timeout(30):
        while not await fleet.orders():
            await fleet.publish("clinic/a/referral", payload)
            await asyncio.sleep(0.05)
    (order,) = await orders(fleet, 1)
    assert await fleet.final_state(order["last_run"]) == {"content": data}


@pytest.mark.slow
async def test_retained_messages_and_disabled_triggers_are_silent(
    fleet: Client, tmp_path: Path
) -> None:
    await fleet.publish("clinic/old/referral", {"id": "old"}, retain=True)
    await fleet.deploy(project(tmp_path))
    await live(fleet)
    await fleet.publish("clinic/new/referral", {"id": "new"})
    (order,) = await orders(fleet, 1)
    assert (await fleet.final_state(order["last_run"]))["data"] == {"id": "new"}
    await fleet.deploy(project(tmp_path, enabled=False))
    await fleet.publish("clinic/new/referral", {"id": "late"})
    await fleet.deploy(project(tmp_path, retained="accept", topic="clinic/old/#"))
    listed = await orders(fleet, 2)
    assert (await fleet.final_state(listed[1]["last_run"]))["data"] == {"id": "old"}
