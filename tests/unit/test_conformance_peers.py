"""The checker of conformance and a part that breaks the protocol: a case fails, and no more."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.in_memory import LocalBroker
from worker.fleet.messaging.topics import Topics
from worker.testing.conformance.case_file import CaseStep, Collect, Expect, Send, SetVariables, Wait
from worker.testing.conformance.conversation import Conversation, StepFailed
from worker.testing.conformance.patterns import match_value
from worker.testing.conformance.report_collector import MAX_CONTENT_BYTES, ReportCollector

LEASE = {"run_id": "r", "attempt": 1, "token": "12345678"}
CONTENT = b'{"type":"run:start","run_id":"r","seq":0,"timestamp":1,"workflow":"w","versions":{}}'
HASH = hashlib.sha256(CONTENT).hexdigest()
REF = {"hash": HASH, "size": len(CONTENT)}
TOPICS = Topics()


def report(**fields: Any) -> dict[str, Any]:
    return {"number": 1, "runs": [{"lease": LEASE, **fields}]}


def chunk(data: bytes = CONTENT, offset: int = 0, **ref: Any) -> dict[str, Any]:
    encoded = base64.b64encode(data).decode()
    return {"content": {**REF, **ref}, "offset": offset, "data": encoded}


@pytest.mark.parametrize(
    ("channel", "payload", "message"),
    [
        ("reports", b"{", "truncated"),
        ("reports", b"\xff", "utf-8"),
        ("reports", {"number": 1}, "runs"),
        ("reports", report(events=[7]), "Expected"),
        ("reports", report(events=[{"seq": 0}]), "required field"),
        ("reports", report(events=[json.loads(CONTENT) | {"run_id": "other"}]), "the run other among those of r"),
        ("reports", b'{"number":1,"runs":[{"lease":%b,"events":[%b]}]}' % (json.dumps(LEASE).encode(), b"[" * 5000 + b"]" * 5000), "nested too deeply"),
        ("chunk", chunk(size=MAX_CONTENT_BYTES + 1), "expected at most"),
        ("chunk", chunk(offset=1), "a chunk up to byte"),
        ("chunk", chunk() | {"data": "!"}, "base64"),
    ],
)  # fmt: skip
def test_what_is_malformed_is_reported(channel: str, payload: Any, message: str) -> None:
    text = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    with pytest.raises(wire.WireError, match=message):
        ReportCollector().handle(channel, text)


def test_a_report_of_chunks_that_did_not_come_requests_them() -> None:
    collector = ReportCollector()
    reports = json.dumps(report(content=REF)).encode()
    assert collector.handle("reports", reports) == wire.MissingContent(hashes=[HASH])
    collector.handle("chunk", json.dumps(chunk()).encode())
    collector.handle("reports", reports)
    assert [event["seq"] for event in collector.of("r")] == [0]


async def perform(steps: list[CaseStep], *messages: Message) -> None:
    """Perform steps after the part under test, the worker w, has sent these messages."""
    broker = LocalBroker()
    async with broker.bus(f"{TOPICS.base}/#") as bus, broker.bus() as part:
        variables = {"case": "c", "worker": "w"}
        conversation = Conversation(bus, broker.bus, TOPICS, 30.0, variables)
        for message in messages:
            part.publish(message)
        await conversation.run(steps)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([Collect(collect="r", events=[])], "a malformed report: "),
        ([SetVariables({"lease_s": "soon"}), Wait(1)], "invalid lease_s soon"),
        ([SetVariables({"lease_s": 1e300}), Wait(1)], "invalid lease_s 1e\\+300"),
        ([SetVariables({"lease_s": [1]}), Expect("x")], "invalid lease_s"),
        ([SetVariables({"run": "\ud800"}), Expect("runs/${run}/state", retained=True)], "no topic: "),
        ([SetVariables({"run": "#"}), Send("runs/${run}/state")], "no topic: "),
    ],
)  # fmt: skip
async def test_a_case_fails_by_what_its_part_sends(steps: list[CaseStep], message: str) -> None:
    report = Message(topic=f"{TOPICS.base}/workers/w/reports", payload=b"[]")
    with pytest.raises(StepFailed, match=message):
        await perform(steps, report)


async def test_half_of_a_character_is_sent_as_it_came() -> None:
    sent = Send("x", json={"id": "${id}"})
    await perform([SetVariables({"id": "\ud800"}), sent, Expect("x", json={"id": "\ud800"})])


def test_only_a_number_is_above_another() -> None:
    assert match_value({"$above": "${n}"}, 2, {"n": "one"}) is None
    assert match_value({"$above": 1}, "2", {}) is None
