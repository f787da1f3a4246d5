"""Conversation of a case with the part under test, over any bus."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import Bus, Connected, Message
from worker.fleet.messaging.topics import Topics
from worker.testing.conformance.case_file import (
    CaseStep,
    Collect,
    ConformanceCase,
    ConformanceFile,
    Expect,
    Forget,
    MessagePattern,
    Send,
    SetVariables,
    Wait,
)
from worker.testing.conformance.patterns import Variables, fill, match_value
from worker.testing.conformance.report_collector import NESTING, ReportCollector
from worker.util.machine_clock import random_hex
from worker.util.nesting import nests_deeper

_TOPIC = re.compile(r"[^\x00-\x1f#+\ud800-\udfff]{1,1000}")
# Before the variables of a lease are bound.
_DEFAULT_LEASE_S = 10.0
# The part under test chooses it, and a step waits for it.
_MAX_LEASE_S = 3600.0
MAX_REPORTED = 12
"""How many of the messages that came instead are reported."""
OpenBus = Callable[[str], Bus]
"""Opens a connection with a subscription."""


class StepFailed(Exception):
    """A step whose expectation was not met."""


@dataclass(slots=True)
class Conversation:
    """Messages and variables of one case; those that no step has matched wait."""

    bus: Bus
    open_bus: OpenBus
    topics: Topics
    timeout_s: float
    variables: Variables
    waiting: list[Message] = field(default_factory=list)
    collector: ReportCollector = field(default_factory=ReportCollector)

    async def run(self, steps: Iterable[CaseStep]) -> None:
        """Perform the steps. Raises :class:`StepFailed` at the first that fails."""
        for number, step in enumerate(steps, 1):
            try:
                await self._perform(step)
            except StepFailed as failure:
                raise StepFailed(f"step {number}: {failure}") from None

    @property
    def _timeout_s(self) -> float:
        """How long an expected message may take: the end of a lease may be part of it."""
        return self.timeout_s + 2 * self._lease_s(default=0.0)

    def _lease_s(self, default: float) -> float:
        lease_s = self.variables.get("lease_s", default)
        if not isinstance(lease_s, int | float) or not 0 <= lease_s <= _MAX_LEASE_S:
            text = str(lease_s)[:100]
            raise StepFailed(f"invalid lease_s {text} (expected 0 to {_MAX_LEASE_S:g} seconds)")
        return lease_s

    async def _perform(self, step: CaseStep) -> None:
        match step:
            case Send():
                self.bus.publish(self._message(step))
            case Expect(retained=True):
                await self._expect_retained(step.pattern)
            case Expect():
                await self._expect(step)
            case Collect():
                await self._collect(step)
            case Wait(wait_leases=leases):
                await self._pause(leases * self._lease_s(_DEFAULT_LEASE_S))
            case Forget():
                self.waiting.clear()
            case SetVariables(set=variables):
                self.variables = {**self.variables, **fill(variables, self.variables)}

    def _message(self, step: Send) -> Message:
        topic = self._topic(step.send)
        # In ASCII: a variable may hold a lone surrogate, which has no UTF-8.
        payload = json.dumps(fill(step.json, self.variables)).encode()
        if step.text is not None:
            payload = step.text.encode("utf-8", "surrogateescape")
        reply_to = fill(step.reply_to, self.variables)
        return Message(
            topic=topic,
            payload=payload,
            retain=step.retain,
            reply_to=reply_to and f"{self.topics.base}/{reply_to}",
            correlation=fill(step.correlation, self.variables).encode(),
        )

    def _topic(self, template: str) -> str:
        topic: str = fill(template, self.variables)
        # The part under test chooses the ids in it.
        if not _TOPIC.fullmatch(topic):
            raise StepFailed(f"no topic: {topic[:200]!r}, which is {template} with ids of the part")
        return f"{self.topics.base}/{topic}"

    async def _pause(self, pause_s: float) -> None:
        # Not from the bus: what arrives meanwhile is for the next expectation.
        await asyncio.sleep(pause_s)

    async def _expect(self, step: Expect) -> None:
        position = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeout_s):
                while True:
                    while position < len(self.waiting):
                        bound = self._match(step.pattern, self.waiting[position])
                        if bound is not None:
                            self._check_without(step, self.waiting[:position])
                            self.variables = bound
                            del self.waiting[position]
                            return
                        position += 1
                    self.waiting += _messages(await self.bus.receive())
        raise StepFailed(self._describe(step.pattern))

    async def _collect(self, step: Collect) -> None:
        run_id, collector = fill(step.collect, self.variables), self.collector
        others = fill(step.without_runs, self.variables)
        before = [len(collector.of(other)) for other in others]
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeout_s):
                while not collector.has_ended(run_id):
                    self._answer_reports()
                    if not collector.has_ended(run_id):
                        self.waiting += _messages(await self.bus.receive())
        if not collector.has_ended(run_id):
            raise StepFailed(f"the run {run_id} has not ended: {collector.of(run_id)}")
        self._check_events(step, collector.of(run_id))
        if before != [len(collector.of(other)) for other in others]:
            raise StepFailed(f"the run {', '.join(others)} was reported, and must not be")
        if step.in_chunks and not collector.chunks:
            raise StepFailed("no event came in chunks")

    def _answer_reports(self) -> None:
        """Answer the reports and chunks of the worker that have come."""
        base = f"{self.topics.base}/workers/{self.variables['worker']}"
        channels = {f"{base}/{channel}": channel for channel in ("reports", "chunk")}
        for message in [message for message in self.waiting if message.topic in channels]:
            self.waiting.remove(message)
            try:
                response = self.collector.handle(channels[message.topic], message.payload)
            except wire.WireError as error:
                raise StepFailed(f"a malformed report: {error}") from None
            self.bus.publish(Message(topic=f"{base}/rsp", payload=wire.encode(response)))

    def _check_events(self, step: Collect, events: list[Any]) -> None:
        """Check that events match the patterns of a step, in order; others may be in between."""
        rest = iter(events)
        for pattern in step.events:
            matches = (match_value(pattern, event, self.variables) for event in rest)
            bound = next((bound for bound in matches if bound is not None), None)
            if bound is None:
                raise StepFailed(f"expected {json.dumps(pattern)} among {str(events)[:2000]}")
            self.variables = bound

    async def _expect_retained(self, pattern: MessagePattern) -> None:
        topic = self._topic(pattern.topic)
        with suppress(TimeoutError):
            async with self.open_bus(topic) as bus, asyncio.timeout(self._timeout_s):
                while True:
                    for message in _messages(await bus.receive()):
                        if (bound := self._match(pattern, message)) is not None:
                            self.variables = bound
                            return
        raise StepFailed(f"not retained: {self._describe(pattern)}")

    def _check_without(self, step: Expect, before: list[Message]) -> None:
        for pattern in step.without:
            for message in before:
                if self._match(pattern, message) is not None:
                    raise StepFailed(f"sent, and must not be: {_line(message)}")

    def _match(self, pattern: MessagePattern, message: Message) -> Variables | None:
        if message.topic != f"{self.topics.base}/{fill(pattern.topic, self.variables)}":
            return None
        if pattern.correlation is not None:
            expected = fill(pattern.correlation, self.variables).encode()
            if message.correlation != expected:
                return None
        if pattern.json is msgspec.UNSET:
            return self.variables
        if nests_deeper(message.payload, NESTING):
            return None
        try:
            value = json.loads(message.payload)
        except ValueError:
            return None
        return match_value(pattern.json, value, self.variables)

    def _describe(self, pattern: MessagePattern) -> str:
        wanted = "anything" if pattern.json is msgspec.UNSET else json.dumps(pattern.json)
        # Other conversations may be on the same broker.
        own = [_line(message) for message in self.waiting if self._is_own(message)]
        came = own[-MAX_REPORTED:] or ["nothing"]
        return f"expected {pattern.topic} {wanted}\n    received: " + "\n      ".join(came)

    def _is_own(self, message: Message) -> bool:
        about = (self.variables["case"], self.variables["worker"])
        return any(id in message.topic or id.encode() in message.payload for id in about)


def _messages(arrivals: Iterable[object]) -> list[Message]:
    return [arrival for arrival in arrivals if isinstance(arrival, Message)]


def _line(message: Message) -> str:
    return f"{message.topic} {message.payload[:300].decode('utf-8', 'replace')}"


async def is_online(open_bus: OpenBus, status: str, topics: Topics, timeout_s: float) -> bool:
    """Wait for the retained presence of the part under test; return False where there is none."""
    async with open_bus(f"{topics.base}/{status}") as bus:
        conversation = Conversation(bus, open_bus, topics, timeout_s, {"case": "", "worker": ""})
        try:
            await conversation.run([Expect(expect=status, json={"online": True})])
        except StepFailed:
            return False
    return True


async def run_case(
    file: ConformanceFile,
    case: ConformanceCase,
    open_bus: OpenBus,
    *,
    topics: Topics,
    timeout_s: float,
    variables: Mapping[str, Any],
) -> str:
    """Run one case. Return why it failed; an empty text where it passed."""
    async with open_bus(f"{topics.base}/#") as bus:
        while not any(isinstance(arrival, Connected) for arrival in await bus.receive()):
            pass
        # Ids of its own: cases share the broker and the database of the part under test.
        own = {"case": f"c{random_hex(6)}", **variables}
        conversation = Conversation(bus, open_bus, topics, timeout_s, own)
        try:
            await conversation.run(file.read_steps(file.setup + case.steps))
        except StepFailed as failure:
            return str(failure)
        finally:
            await conversation.run(file.read_steps(file.cleanup))
    return ""
