"""Requests to a control plane over a bus: each is retransmitted until its reply arrives."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from worker.errors import WorkerError
from worker.fleet.control_errors import AccessRefused, ControlError, NoAnswer, RefusedByBroker
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import AccessDenied, BrokerRefusal, Bus, Message
from worker.fleet.messaging.client_messages import Reply, Submit
from worker.fleet.messaging.content import CHUNK_WINDOW, chunks_of, joined
from worker.fleet.messaging.topics import Topics
from worker.fleet.messaging.trigger_messages import Deploy
from worker.util.machine_clock import random_hex

RETRANSMIT_S = 2.0
# A control plane replies within milliseconds; a person who waits for longer wants to know why.
NOTICE_S = 1.0


@dataclass(slots=True)
class _PendingRequest:
    """A request that waits for its reply, which may come in chunks."""

    message: Message
    reply: asyncio.Future[Reply]
    timeout: asyncio.Timeout
    chunks: dict[int, bytes] = field(default_factory=dict)
    ref: wire.ContentRef | None = None
    progressed: bool = False

    def add(self, chunk: wire.Chunk) -> None:
        """Add a chunk of the reply; complete the request with the last one."""
        # Each repetition of the request may have another result.
        if chunk.content != self.ref:
            self.ref, self.chunks = chunk.content, {}
        self.chunks[chunk.offset] = chunk.data
        self.progressed = True
        content = None
        if sum(map(len, self.chunks.values())) >= chunk.content.size:
            content = joined(chunk.content, self.chunks)
        if content is not None:
            self.reply.set_result(Reply(ok=msgspec.Raw(content)))


class RequestChannel:
    """The requests of one client that wait for their replies, and the state of its connection.

    The arguments are those of :class:`worker.fleet.client.Client`.
    """

    def __init__(
        self,
        bus: Bus,
        topics: Topics,
        *,
        wait_s: float,
        name: str,
        user: str,
        on_wait: Callable[[], None] | None,
    ) -> None:
        self._bus, self._topics = bus, topics
        self._wait_s, self._name, self._user = wait_s, name, user
        self._on_wait = on_wait
        self._waiting: dict[bytes, _PendingRequest] = {}
        self._disconnect_reason = ""
        self._was_connected = False
        self._failure: WorkerError | None = None
        self.connected = asyncio.Event()
        """Set where requests can be sent, or fail at once."""

    async def request(self, method: str, payload: wire.Payload) -> Any:
        """Send a request, and retransmit it until a reply arrives.

        Raises :class:`ControlError` for an error reply, and :class:`NoAnswer` after ``wait_s``.
        """
        # One correlation id for all retransmissions: any reply completes the request.
        correlation = bytes.fromhex(random_hex(16))
        message = Message(
            topic=self._topics.request(method, self._user),
            payload=wire.encode(payload),
            reply_to=self._topics.client(self._name),
            correlation=correlation,
            # Nobody waits for the reply after that.
            expiry_s=max(1, math.ceil(self._wait_s)),
        )
        loop = asyncio.get_running_loop()
        reply_future: asyncio.Future[Reply] = loop.create_future()
        notice = loop.call_later(NOTICE_S, self._report_wait)
        try:
            async with asyncio.timeout(self._wait_s) as timeout:
                request = _PendingRequest(message, reply_future, timeout)
                self._waiting[correlation] = request
                await self.connected.wait()
                if self._failure is not None:
                    raise self._failure
                reply = await self._retransmit_until_reply(request)
        except TimeoutError:
            reason = self._disconnect_reason or "is `worker control-plane` running there?"
            text = f"no control plane answered within {self._wait_s:g} s: {reason}"
            raise NoAnswer(text) from None
        finally:
            notice.cancel()
            self._waiting.pop(correlation, None)
        if reply.error is not None:
            raise ControlError(reply.error.code, reply.error.message)
        return msgspec.json.decode(bytes(reply.ok))

    def _report_wait(self) -> None:
        # Once for all requests: they wait for the same control plane.
        on_wait, self._on_wait = self._on_wait, None
        if on_wait is not None:
            on_wait()

    async def _retransmit_until_reply(self, request: _PendingRequest) -> Reply:
        while True:
            # Chunks of the reply are on their way: another one would only delay them.
            if not request.progressed:
                await self._publish_request(request.message, request.reply)
            request.progressed = False
            done, _ = await asyncio.wait([request.reply], timeout=RETRANSMIT_S)
            if done:
                return request.reply.result()

    async def _publish_request(self, message: Message, reply_future: asyncio.Future[Reply]) -> None:
        sent = asyncio.ensure_future(self._bus.confirm(message))
        try:
            # The reply may overtake the acknowledgement of the broker.
            waiting: list[asyncio.Future[Any]] = [reply_future, sent]
            await asyncio.wait(waiting, timeout=RETRANSMIT_S, return_when=asyncio.FIRST_COMPLETED)
            failure = sent.exception() if sent.done() else None
        finally:
            sent.cancel()
        # Without the connection the request is repeated; a denied one gets no reply, ever.
        if isinstance(failure, AccessDenied):
            raise AccessRefused(str(failure))
        if isinstance(failure, BrokerRefusal):
            raise RefusedByBroker(str(failure))

    async def request_of_any_size(self, method: str, request: Submit | Deploy) -> Any:
        """Send a request; one that is too large for a message in chunks."""
        content = wire.encode(request)
        if len(content) <= self._bus.max_message_bytes:
            return await self.request(method, request)
        while True:
            await self.connected.wait()
            try:
                ref = await self._upload(content)
                return await self.request(method, type(request)(content=ref))
            except ControlError as error:
                # The chunks were stored too long ago.
                if error.code != "missing":
                    raise

    async def _upload(self, content: bytes) -> wire.ContentRef:
        first, *others = chunks_of(content, self._bus.max_message_bytes)
        # First alone: the whole may be refused for its size.
        await self.request("chunk", first)
        window = asyncio.Semaphore(CHUNK_WINDOW)

        async def send(chunk: wire.Chunk) -> None:
            async with window:
                await self.request("chunk", chunk)

        try:
            async with asyncio.TaskGroup() as uploads:
                for chunk in others:
                    uploads.create_task(send(chunk))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        return first.content

    # --- what the bus reports ---------------------------------------------------------------------

    def on_connected(self) -> None:
        """Repeat the requests that wait."""
        self._was_connected = True
        self._failure = None
        self.connected.set()
        # Requests sent before the connection broke may be lost.
        for request in self._waiting.values():
            self._bus.publish(request.message)

    def on_disconnected(self, reason: str) -> None:
        """Let requests wait for the connection, or fail where there never was one."""
        self._disconnect_reason = reason
        self.connected.clear()
        # An address that never worked is likely wrong, so requests fail at once. One that worked
        # before is likely to come back: requests wait for it.
        if not self._was_connected:
            self._failure = NoAnswer(reason)
            self.connected.set()

    def on_refused(self, refusal: AccessDenied) -> None:
        """Let all requests fail: the broker accepts no connection."""
        self._failure = AccessRefused(str(refusal))
        self.connected.set()

    def receive(self, message: Message) -> bool:
        """Receive a reply; return False for a message that is none.

        Raises :class:`WireError` for a malformed one.
        """
        request = self._waiting.get(message.correlation or b"")
        if request is None:
            return False
        # Retransmitted requests may have several replies.
        if not request.reply.done():
            self._on_reply(request, wire.decode(Reply, message.payload))
        return True

    def _on_reply(self, request: _PendingRequest, reply: Reply) -> None:
        if reply.chunk is None:
            request.reply.set_result(reply)
            return
        request.add(reply.chunk)
        request.timeout.reschedule(asyncio.get_running_loop().time() + self._wait_s)
