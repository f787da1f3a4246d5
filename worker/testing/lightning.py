"""Stand-in for the server of OpenFn Lightning, as strict as the real one, for tests of workers.

    async with Server() as server:
        run_id = server.add_run(plan, {"data": {}})
        await server.announce()
        run = await server.wait(run_id)
    assert run.state == "success" and not server.violations

A worker connects to ``server.url`` with ``server.secret``. All that the real server would refuse is
refused, and listed in ``violations``. :meth:`Server.inject` loses requests and replies, cuts the
connection, refuses events and ends channels. Needs the extra ``lightning``.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import jwt
import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from websockets.asyncio.server import Server as WebSocketServer
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import CloseCode
from websockets.http11 import Request, Response

from worker.lightning.compression import ServerCompression
from worker.lightning.message_connection import ServerMessages
from worker.lightning.serializer import (
    MAX_FRAME_BYTES,
    ChannelFrame,
    FrameError,
    decode_frame,
    encode_binary_reply,
)
from worker.lightning.worker_tokens import RUN_ISSUER
from worker.testing.lightning_faults import Fault, Faults, Refuse
from worker.testing.lightning_rules import (
    EventRefused,
    ServerRun,
    check_connection,
    claim_problem,
    handle_event,
)

__all__ = ["Fault", "Refuse", "Server", "ServerRun"]

QUEUE = "worker:queue"
DEFAULT_TIMEOUT_MS = 300_000


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


# To generate one takes longer than most tests.
_shared_key = functools.cache(_new_key)


@dataclass(eq=False, slots=True)
class _WorkerConnection:
    """A connection, and the join_ref of each topic that is joined on it."""

    connection: ServerMessages
    joins: dict[str, str] = field(default_factory=dict)

    def push(self, topic: str, event: str) -> None:
        self.connection.post(_encode([self.joins[topic], None, topic, event, {}]))


def _encode(frame: list[Any]) -> bytes:
    try:
        return msgspec.json.encode(frame)
    except UnicodeEncodeError:
        # Half of a surrogate pair, which is an escape in JSON.
        return json.dumps(frame).encode()


@dataclass(eq=False, slots=True)
class _Waiter:
    """A test that waits until a condition is true."""

    condition: Callable[[], object]
    future: asyncio.Future[None]

    def check(self) -> None:
        if not self.future.done() and self.condition():
            self.future.set_result(None)


class Server:
    """The stand-in. ``grace_s`` is how long after its time limit the token of a run is valid.

    Claimed runs that nobody joins within ``requeue_s`` seconds are queued again, as newer servers
    do; without it they stay claimed. With ``new_key`` it signs tokens with a key that no other
    stand-in of this process has.
    """

    def __init__(
        self,
        *,
        secret: str = "s" * 32,
        grace_s: float = 10.0,
        requeue_s: float | None = None,
        new_key: bool = False,
    ) -> None:
        self.secret = secret
        self.runs: dict[str, ServerRun] = {}
        """All runs, by their ids."""
        self.credentials: dict[str, Any] = {}
        """The bodies of credentials, by their ids."""
        self.dataclips: dict[str, str] = {}
        """The JSON texts of all dataclips, by their ids."""
        self.violations: list[str] = []
        """What was refused, in order, other than by an injected fault."""
        self.frames: list[ChannelFrame] = []
        """All frames that were received, if ``keep_frames`` is set."""
        self.keep_frames = False
        self._grace_s = grace_s
        self._requeue_s = requeue_s
        self._key = _new_key() if new_key else _shared_key()
        self._queue: list[str] = []
        self._clients: dict[ServerMessages, _WorkerConnection] = {}
        self._faults = Faults()
        self._waiters: set[_Waiter] = set()
        self._server: WebSocketServer | None = None
        self._port = 0

    # --- for tests --------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The URL that a worker is configured with."""
        return f"ws://127.0.0.1:{self._port}/worker"

    @property
    def public_key(self) -> str:
        """The base64 of the PEM that verifies tokens of runs: WORKER_LIGHTNING_PUBLIC_KEY."""
        pem = self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return base64.b64encode(pem).decode()

    async def __aenter__(self) -> Server:
        await self.start()
        return self

    async def __aexit__(self, *reason: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, after :meth:`stop` on the same port again."""
        self._server = await serve(
            self._serve_client,
            "127.0.0.1",
            self._port,
            process_request=self._admit,
            max_size=MAX_FRAME_BYTES,
            compression=None,
            extensions=[ServerCompression()],
            create_connection=cast(
                "type[ServerMessages]",
                functools.partial(ServerMessages, on_message=self._on_message),
            ),
            ping_interval=None,
        )
        self._port = next(iter(self._server.sockets)).getsockname()[1]

    async def stop(self, *, forget: bool = False) -> None:
        """Close all connections; ``forget`` also removes all runs, as a new database does."""
        assert self._server is not None
        self.disconnect()
        self._server.close()
        await self._server.wait_closed()
        if forget:
            self.runs.clear()
            self._queue.clear()

    def disconnect(self) -> None:
        """Cut all connections without a closing handshake."""
        for connection in self._clients:
            connection.transport.abort()

    def add_run(
        self,
        plan: Mapping[str, Any],
        dataclip: Any = None,
        *,
        save_dataclips: bool = True,
    ) -> str:
        """Queue a run; return its id. What the plan lacks is added.

        ``save_dataclips`` is false for a project that keeps no data.
        """
        added = {"triggers": [], "edges": [], "options": {}, "project_id": str(uuid.uuid4())}
        complete = {"id": str(uuid.uuid4()), **added, **plan}
        if dataclip is not None:
            complete["dataclip_id"] = id = str(uuid.uuid4())
            self.dataclips[id] = json.dumps(dataclip)
        run_id = str(complete["id"])
        self.runs[run_id] = ServerRun(plan=complete, save_dataclips=save_dataclips)
        self._queue.append(run_id)
        return run_id

    async def announce(self) -> None:
        """Push ``work-available`` to all workers."""
        for client in self._clients.values():
            if QUEUE in client.joins:
                client.push(QUEUE, "work-available")

    def inject(self, event: str, fault: Fault | Refuse, *, run_id: str | None = None) -> None:
        """Apply a fault to the next event of this name, of one run or of any."""
        self._faults.add(event, fault, run_id)

    async def crash_channel(self, run_id: str) -> None:
        """End the process of a run's channel: the worker receives ``phx_error``."""
        self._end_channel(f"run:{run_id}", "phx_error")

    async def close_channel(self, topic: str) -> None:
        """End a channel: the worker receives ``phx_close``."""
        self._end_channel(topic, "phx_close")

    async def wait(self, run_id: str, timeout_s: float = 60.0) -> ServerRun:
        """Wait until a run is complete. Raises ``TimeoutError``."""
        await self.wait_for(lambda: self.runs[run_id].complete is not None, timeout_s)
        return self.runs[run_id]

    async def wait_for(self, condition: Callable[[], object], timeout_s: float = 60.0) -> None:
        """Wait until a condition of what the server has received is true."""
        if condition():
            return
        waiter = _Waiter(condition, asyncio.get_running_loop().create_future())
        self._waiters.add(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter.future
        finally:
            self._waiters.discard(waiter)

    def joined(self, topic: str) -> int:
        """Count the connections that have joined a topic."""
        return sum(topic in client.joins for client in self._clients.values())

    def token(self, run_id: str, **claims: Any) -> str:
        """Sign the token of a run; ``claims`` replace its own."""
        now = int(time.time())
        timeout_ms = self.runs[run_id].plan["options"].get("run_timeout_ms", DEFAULT_TIMEOUT_MS)
        own = {
            "iss": RUN_ISSUER,
            "id": run_id,
            "sub": f"run:{run_id}",
            "nbf": now,
            "exp": now + timeout_ms / 1000 + self._grace_s,
        }
        return jwt.encode({**own, **claims}, self._key, "RS256")

    # --- the server -------------------------------------------------------------------------------

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        if (problem := check_connection(request.path, self.secret)) is None:
            return None
        self._violate(f"connection refused: {problem}")
        return connection.respond(401, "Unauthorized")

    async def _serve_client(self, connection: ServerConnection) -> None:
        assert isinstance(connection, ServerMessages)
        self._clients[connection] = _WorkerConnection(connection)
        try:
            await connection.wait_closed()
            sent = connection.protocol.close_exc.sent
            if sent is not None and sent.code == CloseCode.MESSAGE_TOO_BIG:
                self._violate("a frame is larger than the server accepts")
        finally:
            del self._clients[connection]
            self._notify()

    def _on_message(self, connection: ServerMessages, data: bytes, is_text: bool) -> None:
        client = self._clients[connection]
        try:
            frame = decode_frame(data, is_text=is_text)
        except FrameError as error:
            self._violate(str(error))
            return
        if self.keep_frames:
            self.frames.append(frame)
        run_id = frame.topic.removeprefix("run:")
        fault = self._faults.take(frame.event, run_id)
        if fault in (Fault.CUT_BEFORE, Fault.LOSE_REQUEST):
            if fault is Fault.CUT_BEFORE:
                client.connection.transport.abort()
            self._notify()
            return
        status, response = self._respond(client, frame, fault)
        if fault is Fault.CUT_AFTER:
            client.connection.transport.abort()
        elif fault is not Fault.LOSE_REPLY:
            self._reply(client, frame, status, response)
            self._after_reply(frame, fault)
        self._notify()

    def _after_reply(self, frame: ChannelFrame, fault: Fault | Refuse | None) -> None:
        if fault is Fault.CRASH_CHANNEL:
            self._end_channel(frame.topic, "phx_error")
        elif fault is Fault.CLOSE_CHANNEL:
            self._end_channel(frame.topic, "phx_close")

    def _respond(
        self, client: _WorkerConnection, frame: ChannelFrame, fault: Fault | Refuse | None
    ) -> tuple[str, Any]:
        if isinstance(fault, Refuse):
            return "error", fault.response
        try:
            return "ok", self._handle(client, frame)
        except EventRefused as refused:
            payload = json.dumps(frame.payload)[:200]
            self._violate(
                f"{frame.topic} {frame.event}: {json.dumps(refused.response)} <- {payload}"
            )
            return "error", refused.response

    def _reply(
        self, client: _WorkerConnection, frame: ChannelFrame, status: str, response: Any
    ) -> None:
        if isinstance(response, bytes):
            data = encode_binary_reply(
                frame.join_ref, frame.ref or "", frame.topic, status, response
            )
            client.connection.post(data, is_text=False)
            return
        payload = {"status": status, "response": response}
        client.connection.post(
            _encode([frame.join_ref, frame.ref, frame.topic, "phx_reply", payload])
        )

    def _handle(self, client: _WorkerConnection, frame: ChannelFrame) -> Any:
        topic, joins = frame.topic, client.joins
        if topic == "phoenix":
            return {}
        if frame.event == "phx_join":
            self._check_join(frame)
            joins[topic] = frame.join_ref or ""
            return {}
        if joins.get(topic) != frame.join_ref or frame.join_ref is None:
            raise EventRefused({"reason": "unmatched topic"})
        if frame.event == "phx_leave":
            del joins[topic]
            return {}
        if topic == QUEUE:
            return self._claim(frame)
        run = self.runs[topic.removeprefix("run:")]
        return handle_event(run, frame.event, frame.payload, self.dataclips, self.credentials)

    def _check_join(self, frame: ChannelFrame) -> None:
        if frame.join_ref is None or frame.join_ref != frame.ref:
            raise EventRefused({"reason": "join_ref differs from ref"})
        if frame.topic == QUEUE:
            return
        run_id = frame.topic.removeprefix("run:")
        if run_id not in self.runs:
            raise EventRefused({"reason": "not_found"})
        required = ["iss", "id", "nbf", "exp", "sub"]
        try:
            claims = jwt.decode(
                frame.payload.get("token", ""), self._key.public_key(), ["RS256"],
                issuer=RUN_ISSUER, options={"require": required},
            )  # fmt: skip
        except jwt.PyJWTError:
            claims = {}
        if claims.get("id") != run_id or claims.get("sub") != f"run:{run_id}":
            raise EventRefused({"reason": "unauthorized"})
        self.runs[run_id].joined = True

    def _claim(self, frame: ChannelFrame) -> dict[str, Any]:
        if frame.event != "claim" or (problem := claim_problem(frame.payload)):
            raise EventRefused({"reason": f"the channel crashed: {problem or frame.event}"})
        taken = self._queue[: frame.payload["demand"]]
        del self._queue[: len(taken)]
        for run_id in taken:
            self.runs[run_id].state = "claimed"
            if self._requeue_s is not None:
                loop = asyncio.get_running_loop()
                loop.call_later(self._requeue_s, self._requeue, run_id, self.runs[run_id])
        return {
            "runs": [{"id": id, "token": self.runs[id].token or self.token(id)} for id in taken]
        }

    def _requeue(self, run_id: str, run: ServerRun) -> None:
        if run.state == "claimed" and not run.joined:
            run.state = "available"
            self._queue.append(run_id)

    def _end_channel(self, topic: str, event: str) -> None:
        for client in self._clients.values():
            if topic in client.joins:
                client.push(topic, event)
                del client.joins[topic]

    def _violate(self, text: str) -> None:
        self.violations.append(text)

    def _notify(self) -> None:
        for waiter in tuple(self._waiters):
            waiter.check()
