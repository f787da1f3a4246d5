"""Player of a recorded conversation: it speaks for the parts of one version, to a part of another.

It sends what the recorded parts sent, in that order, each message after those that the live part
sent before it. Where chance decides what comes when, it answers as the recorded parts did: reports
and chunks, however they are divided, and the queries of clients, however often they come.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from tests.support.conversation_file import Part, RecordedMessage, Recording, recorded, variable
from worker.fleet.messaging.address import parse_address
from worker.testing.conformance.patterns import Variables, fill, match_value
from worker.testing.conformance.report_collector import ReportCollector

TIMEOUT_S = 60.0
ANY = "${*}"
_CHANCE = frozenset(
    ("timestamp", "created", "started", "finished", "mem", "duration", "data", "size", "versions",
     "version", "host", "claim_id", "demand", "skew", "revision", "payload_limit")
)  # fmt: skip
"""Fields that chance decides, or that each version may have as it likes."""
_CHANGES = ("submit", "chunk", "cancel")
"""The requests that change something; all others are queries."""


def pattern_of(value: Any) -> Any:
    """Return the pattern of a recorded payload."""
    if isinstance(value, dict):
        return {key: ANY if key in _CHANCE else pattern_of(item) for key, item in value.items()}
    return [pattern_of(item) for item in value] if isinstance(value, list) else value


def shape_of(value: Any) -> Any:
    """Return a pattern of the fields of a recorded payload, whatever their values are."""
    return {key: shape_of(item) for key, item in value.items()} if isinstance(value, dict) else ANY


@dataclass(slots=True)
class Player:
    """The player of a recording, with one connection for all parts but the ``live`` one."""

    recording: Recording
    live: Part
    client: aiomqtt.Client
    came: list[RecordedMessage] = field(default_factory=list)
    reports: ReportCollector = field(default_factory=ReportCollector)
    recorded_reports: ReportCollector = field(default_factory=ReportCollector)
    variables: Variables = field(default_factory=dict)
    _claims: list[str] = field(default_factory=list)
    _answered: set[str] = field(default_factory=set)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def play(self, live: Coroutine[Any, Any, None]) -> None:
        """Play the whole conversation, until what the ``live`` part does has ended too.

        A failure names the message that did not come.
        """
        self.variables = self._ids_of_played()
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(self._listen())
            doing = group.create_task(live)
            for message in self.recording.messages:
                if message.part == self.live:
                    await self._await(message)
                elif self._concerns_live(message) and not self._is_answer(message):
                    await self._send(message)
            await doing
            listening.cancel()

    def _ids_of_played(self) -> dict[str, Any]:
        """Return the ids that the recorded parts drew; the live one draws its own."""
        drawn: dict[str, Part] = {}
        ids = self.recording.header.ids
        for message in self.recording.messages:
            text = json.dumps([message.topic, message.properties, message.json])
            for name in ids:
                if name not in drawn and variable(name) in text:
                    drawn[name] = message.part
        return {name: ids[name] for name, part in drawn.items() if part != self.live}

    async def _listen(self) -> None:
        base = "worker/v1/workers/north"
        async for item in self.client.messages:
            message = recorded(self.live, item)
            if message.topic == f"{base}/claim" and message.json["demand"]:
                self._note_claim(message.json["claim_id"])
            elif message.topic in (f"{base}/reports", f"{base}/chunk") and self.live == "worker":
                await self._acknowledge(message, bytes(item.payload))
            elif self.live == "client" and not self._is_change(message):
                await self._answer_query(message)
            async with self._changed:
                self.came.append(message)
                self._changed.notify_all()

    def _note_claim(self, claim_id: str) -> None:
        # A repetition may arrive after the answer, which the worker has had.
        if claim_id not in self._answered:
            self._claims.append(claim_id)

    # --- what the live part sends -----------------------------------------------------------------

    async def _await(self, message: RecordedMessage) -> None:
        """Wait for what the live part sends in the place of a recorded message."""
        channel = message.topic.rpartition("/")[2]
        match self.live:
            case "worker" if channel in ("reports", "chunk"):
                await self._await_report(message, channel)
            case "worker" if channel in ("start", "fetch"):
                await self._await_match(message, pattern_of(message.json))
            case "worker" if channel == "status" and message.json.get("draining") is None:
                await self._await_match(message, pattern_of(message.json))
            case "client" if self._is_change(message) and self._is_first(message):
                await self._await_match(message, pattern_of(message.json))
            case "plane" if channel == "status" and message.json["online"]:
                await self._await_match(message, pattern_of(message.json))
            case "plane" if "/workers/" in message.topic:
                await self._await_match(message, pattern_of(message.json))
            case "plane" if "/clients/" in message.topic and self._is_first(message):
                await self._await_match(message, shape_of(message.json))
            case "plane" if channel == "state":
                kept = ("status", "run_id", "order_id", "workflow", "error_type", "error_message")
                known = {key: value for key, value in message.json.items() if key in kept}
                await self._await_match(message, known)

    async def _await_match(self, message: RecordedMessage, pattern: Any) -> None:
        wanted = _comparable(message, pattern)

        def take() -> bool:
            for each in self.came:
                bound = _match(wanted, _comparable(each, each.json), self.variables)
                if bound is not None:
                    self.variables = bound
                    # A sender that had no answer yet has repeated it.
                    self.came = [
                        one for one in self.came if one is not each and not _repeats(one, each)
                    ]
                    return True
            return False

        try:
            async with asyncio.timeout(TIMEOUT_S), self._changed:
                await self._changed.wait_for(take)
        except TimeoutError:
            last = "\n  ".join(str(each)[:600] for each in self.came[-8:])
            raise AssertionError(f"did not come: {str(wanted)[:1500]}\n came:\n  {last}") from None

    async def _await_report(self, message: RecordedMessage, channel: str) -> None:
        """Wait until the live worker has reported as much of a run."""
        payload = fill(message.json, self.recording.header.ids | dict(self.variables))
        self.recorded_reports.handle(channel, json.dumps(payload).encode())
        enough = {run: len(events) for run, events in self.recorded_reports.events.items()}
        async with asyncio.timeout(TIMEOUT_S), self._changed:
            await self._changed.wait_for(
                lambda: all(len(self.reports.of(run)) >= number for run, number in enough.items())
            )

    # --- what the recorded parts send -------------------------------------------------------------

    def _is_change(self, message: RecordedMessage) -> bool:
        return message.topic.rpartition("/")[2] in _CHANGES

    def _is_first(self, message: RecordedMessage) -> bool:
        """Return True for the first message of a correlation; senders repeat themselves."""
        correlation = message.properties["CorrelationData"]
        is_first = correlation not in self._answered
        self._answered.add(correlation)
        return is_first

    def _concerns_live(self, message: RecordedMessage) -> bool:
        """Return True for what the live part subscribes to."""
        to_worker = message.topic.endswith(("north/rsp", "north/cmd", "control/status"))
        match self.live:
            case "worker":
                return message.part == "plane" and to_worker
            case "client":
                ends = message.topic.endswith("control/status") and not message.json["online"]
                return message.part == "plane" and "/workers/" not in message.topic and not ends
            case _:
                return True

    def _is_answer(self, message: RecordedMessage) -> bool:
        """Return True for an answer that is sent when its question comes."""
        if self.live == "worker" and message.topic.endswith("north/rsp"):
            return message.json["type"] in ("acks", "stored", "missing")
        if self.live == "client" and "/clients/" in message.topic:
            return message.properties["CorrelationData"] not in self._answered
        return False

    async def _send(self, message: RecordedMessage) -> None:
        if self.live == "worker" and message.json and message.json.get("type") == "runs":
            async with asyncio.timeout(TIMEOUT_S), self._changed:
                await self._changed.wait_for(lambda: bool(self._claims))
            answered = self._claims[-1]
            self._claims = []
            self._answered.add(answered)
            await self._publish(message, message.json | {"claim_id": answered}, message.properties)
        else:
            await self._publish(message, message.json, message.properties)

    async def _publish(self, message: RecordedMessage, payload: Any, named: dict[str, Any]) -> None:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        for name, value in fill(named, self.variables).items():
            setattr(properties, name, bytes.fromhex(value) if name == "CorrelationData" else value)
        content = b"" if payload is None else json.dumps(fill(payload, self.variables)).encode()
        topic = fill(message.topic, self.variables)
        await self.client.publish(topic, content, message.qos, message.retain, properties)

    async def _acknowledge(self, message: RecordedMessage, payload: bytes) -> None:
        """Answer a report or a chunk as the recorded control plane did."""
        response: Any = self.reports.handle(message.topic.rpartition("/")[2], payload)
        kind = "stored" if message.topic.endswith("/chunk") else "acks"
        answer = next(
            each
            for each in self.recording.messages
            if each.topic.endswith("north/rsp") and each.json["type"] == kind
        )
        if kind == "stored":
            fields = {"hash": response.hash, "offset": response.offset}
        else:
            (one, *_) = answer.json["acks"]
            acks = [
                one | {"run_id": ack.run_id, "attempt": ack.attempt, "upto": ack.upto}
                for ack in response.acks
            ]
            fields = {"number": response.number, "acks": acks}
        await self._publish(answer, answer.json | fields, answer.properties)

    async def _answer_query(self, query: RecordedMessage) -> None:
        """Answer a query as the last one like it was answered, which is when all had ended."""
        like = [
            each
            for each in self.recording.messages
            if each.topic == query.topic
            and _match(pattern_of(each.json), query.json, self.variables) is not None
        ]
        if not like:
            raise AssertionError(f"no recorded client asked {query.topic} {query.json}")
        # A newer client may send fields that the recorded control plane ignores.
        same = max(reversed(like), key=lambda each: len(each.json))
        correlation = same.properties["CorrelationData"]
        to = query.properties["ResponseTopic"]
        for answer in self.recording.messages:
            is_reply = "/clients/" in answer.topic
            if is_reply and answer.properties["CorrelationData"] == correlation:
                named = {
                    **answer.properties,
                    "CorrelationData": query.properties["CorrelationData"],
                }
                reply = RecordedMessage(part=answer.part, topic=to)
                await self._publish(reply, answer.json, named)


def _comparable(message: RecordedMessage, payload: Any) -> Any:
    """Return a message as a value to match, with the levels of its topics each on its own."""
    levels = {
        name: value.split("/") if name == "ResponseTopic" else value
        for name, value in message.properties.items()
        if name != "MessageExpiryInterval"
    }
    return {
        "topic": message.topic.split("/"), "retain": message.retain, "properties": levels,
        "json": payload,
    }  # fmt: skip


def _repeats(message: RecordedMessage, other: RecordedMessage) -> bool:
    correlation = message.properties.get("CorrelationData")
    return correlation is not None and correlation == other.properties.get("CorrelationData")


def _match(pattern: Any, value: Any, variables: Variables) -> Variables | None:
    try:
        return match_value(pattern, value, variables)
    except KeyError:  # a part of a text whose id is not known yet
        return None


def connection(url: str) -> aiomqtt.Client:
    """Return a connection of its own kind: today's bus might send and receive something else."""
    address = parse_address(url)
    return aiomqtt.Client(address.host, address.port, protocol=aiomqtt.ProtocolVersion.V5)


async def subscribe(client: aiomqtt.Client) -> None:
    """Receive all that others publish."""
    options = SubscribeOptions(qos=1, noLocal=True, retainAsPublished=True)
    await client.subscribe("worker/v1/#", options=options)
