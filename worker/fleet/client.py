"""Client of a control plane: submits work orders, and follows, retries and cancels their runs.

    async with Client(bus) as client:
        order = await client.submit(plan=plan, input={"data": {}})
        async for event in client.follow(order["last_run"]):
            ...

Each request is retransmitted until a reply arrives. Requests are idempotent: ids are chosen here.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self

import msgspec

from worker.core.status import STATUSES, Status
from worker.errors import WorkerError
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging import operation_messages as ops
from worker.fleet.messaging import trigger_messages as trigger_wire
from worker.fleet.messaging.bus import BrokerRefusal, Bus, Connected, Disconnected, Message
from worker.fleet.messaging.cloudevents import unwrap
from worker.fleet.messaging.content import CHUNK_WINDOW, chunks_of, joined
from worker.fleet.messaging.messages import OrderQuery, RunOptions, RunQuery
from worker.fleet.messaging.topics import Topics
from worker.util.machine_clock import random_hex
from worker.workflow.json_input import encode_object
from worker.workflow.order_retry import OrderRetry

RETRANSMIT_S = 2.0
PAGE_SIZE = 500
# Backpressure: a slow reader gets a gap instead of an unbounded queue.
MAX_QUEUED_NOTIFICATIONS = 10_000


class ControlError(WorkerError):
    """Error reply of the control plane.

    ``code``: invalid, unknown, conflict, rejected, too_large.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class NoAnswer(WorkerError):
    """No reply from a control plane within the timeout."""

    # Of sysexits.h, "service unavailable": the same command may succeed later.
    exit_code = 69


@dataclass(frozen=True, slots=True)
class Gap:
    """Notifications may have been lost: known state must be queried again."""


Notification = wire.RunState | wire.OrderState | wire.RunEvents | wire.Alert | Gap


@dataclass(slots=True)
class _PendingRequest:
    """A request that waits for its reply, which may come in chunks."""

    message: Message
    reply: asyncio.Future[wire.Reply]
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
            self.reply.set_result(wire.Reply(ok=msgspec.Raw(content)))


@dataclass(slots=True)
class _Follower:
    """Notifications of a run that is followed."""

    changed: asyncio.Event = field(default_factory=asyncio.Event)
    state: Status | None = None
    revision: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)


class _NotificationQueue:
    """Bounded queue of notifications; it becomes a gap where it overflows."""

    def __init__(self) -> None:
        self._items: deque[Notification] = deque([Gap()])
        self._available = asyncio.Event()

    def put(self, notification: Notification) -> None:
        if len(self._items) >= MAX_QUEUED_NOTIFICATIONS:
            self._items.clear()
            notification = Gap()
        self._items.append(notification)
        self._available.set()

    async def take(self) -> list[Notification]:
        if not self._items:
            self._available.clear()
            await self._available.wait()
        taken = list(self._items)
        self._items.clear()
        return taken


def client_name() -> str:
    """Generate a unique name that nobody can guess: replies are published to it."""
    return f"c-{random_hex(16)}"


class Client:
    """Client of a control plane: :func:`connect` and :func:`local_fleet` create one.

    ``wait_s`` is the timeout of a reply. ``name`` is the client id on a broker whose access list
    depends on it; by default it is generated. ``user`` is the name on the broker by which a policy
    knows the client.
    """

    def __init__(
        self,
        bus: Bus,
        topics: Topics = Topics(),
        *,
        wait_s: float = 10.0,
        name: str = "",
        user: str = "",
    ) -> None:
        self._bus = bus
        self._topics = topics
        self._wait_s = wait_s
        self._name = name or client_name()
        self._user = user
        self._waiting: dict[bytes, _PendingRequest] = {}
        self._followers: dict[str, _Follower] = {}
        self._queues: list[_NotificationQueue] = []
        self._connected = asyncio.Event()
        self._disconnect_reason = ""
        self._was_connected = False
        self._failure: WorkerError | None = None

    async def __aenter__(self) -> Self:
        await self._bus.__aenter__()
        self._bus.subscribe(self._topics.client(self._name))
        self._listener = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *reason: object) -> None:
        self._listener.cancel()
        await asyncio.gather(self._listener, return_exceptions=True)
        await self._bus.__aexit__(*reason)

    # --- requests ---------------------------------------------------------------------------------

    async def submit(
        self,
        *,
        workflow: str | None = None,
        plan: Mapping[str, Any] | None = None,
        input: Mapping[str, Any] | None = None,
        project: str = "default",
        priority: int = 0,
        options: RunOptions = RunOptions(),
        order_id: str | None = None,
        not_before: datetime | None = None,
        start_by: datetime | None = None,
        unique: str | None = None,
        over_limit: Literal["reject", "queue"] | None = None,
        tags: Sequence[str] = (),
        retry: OrderRetry | None = None,
        placement: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Submit a work order for a registered workflow or for an execution plan.

        It does not begin before ``not_before``, and is rejected where it has not by ``start_by``.
        At most one order of a project with the same ``unique`` key waits or runs: a newer one
        replaces one that waits, and is rejected while one runs. With ``over_limit="queue"`` it
        waits instead, here and at the limits of its project. ``retry`` repeats it where it ends
        badly. It runs on workers with all labels of ``placement``. Return the order; its ``status``
        is ``pending``, or ``rejected`` with a ``reason``.
        """
        request = wire.Submit(
            order_id=order_id or random_hex(16),
            workflow=workflow,
            plan=wire.NULL if plan is None else _raw(plan, "plan"),
            input=_raw(input, "input"),
            project=project,
            priority=priority,
            options=options,
            not_before=_time_us(not_before),
            start_by=_time_us(start_by),
            unique=unique,
            over_limit=over_limit,
            tags=tuple(tags),
            retry=retry,
            placement=tuple(placement),
        )
        return _object(await self._submit(request))

    async def _submit(self, request: wire.Submit) -> Any:
        """Send an order; one that is too large for a message in chunks."""
        content = wire.encode(request)
        if len(content) <= self._bus.max_message_bytes:
            return await self._request("submit", request)
        while True:
            await self._connected.wait()
            try:
                ref = await self._upload(content)
                return await self._request("submit", wire.Submit(content=ref))
            except ControlError as error:
                # The chunks were stored too long ago.
                if error.code != "missing":
                    raise

    async def _upload(self, content: bytes) -> wire.ContentRef:
        first, *others = chunks_of(content, self._bus.max_message_bytes)
        # First alone: the whole may be refused for its size.
        await self._request("chunk", first)
        window = asyncio.Semaphore(CHUNK_WINDOW)

        async def send(chunk: wire.Chunk) -> None:
            async with window:
                await self._request("chunk", chunk)

        try:
            async with asyncio.TaskGroup() as uploads:
                for chunk in others:
                    uploads.create_task(send(chunk))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        return first.content

    async def retry(
        self,
        id: str,
        *,
        from_step: str | None = None,
        latest: bool = False,
        run_id: str | None = None,
    ) -> dict[str, Any]:
        """Start a new run of an order, given by its id or that of one of its runs.

        ``latest`` takes the workflow as the control plane has it by now. An order that was rejected
        runs for the first time. ``run_id`` is the id of the new run; requests with the same id make
        one run.
        """
        request = wire.RetryRequest(
            id=id, run_id=run_id or random_hex(16), from_step=from_step, latest=latest
        )
        return _object(await self._request("retry", request))

    async def cancel(self, id: str) -> dict[str, Any]:
        """Cancel a run, or the last run of an order.

        A running run is cancelled later, when its worker confirms it.
        """
        return _object(await self._request("cancel", wire.RunRef(id=id)))

    async def run(self, id: str) -> dict[str, Any]:
        """Query a run, or the last run of an order, with its steps."""
        return _object(await self._request("run", wire.RunRef(id=id)))

    async def input(self, id: str) -> dict[str, Any]:
        """Fetch the input of a run, without a configuration that it may hold."""
        state: dict[str, Any] = _object(await self._request("input", wire.RunRef(id=id)))["input"]
        return state

    async def order(self, id: str) -> dict[str, Any]:
        """Query an order with all of its runs."""
        return _object(await self._request("order", wire.OrderRef(order_id=id)))

    async def orders(self, query: OrderQuery = OrderQuery()) -> list[dict[str, Any]]:
        """List orders, newest first."""
        return _objects(await self._request("orders", query))

    async def runs(self, query: RunQuery = RunQuery()) -> list[dict[str, Any]]:
        """List runs of all orders, newest first."""
        return _objects(await self._request("runs", query))

    async def workers(self) -> list[dict[str, Any]]:
        """List the workers with their leases."""
        return _objects(await self._request("workers", wire.Empty()))

    async def alerts(self) -> list[dict[str, Any]]:
        """List the newest runs that ended as exception or lost."""
        return _objects(await self._request("alerts", wire.Empty()))

    async def acknowledge(self, run_id: str) -> dict[str, Any]:
        """Record that somebody takes care of the alert of a run."""
        request = ops.AcknowledgeRequest(run_id=run_id)
        return _object(await self._request("acknowledge", request))

    async def pause(
        self, workflow: str | None = None, *, project: str | None = None
    ) -> dict[str, Any]:
        """Pause a workflow, in one project or in all, or a whole project.

        Its orders wait; runs that a worker has go on.
        """
        request = ops.PauseRequest(workflow=workflow, project=project)
        return _object(await self._request("pause", request))

    async def resume(
        self, workflow: str | None = None, *, project: str | None = None
    ) -> dict[str, Any]:
        """Resume what was paused with the same arguments."""
        request = ops.PauseRequest(workflow=workflow, project=project)
        return _object(await self._request("resume", request))

    async def erase(self, order_id: str) -> dict[str, Any]:
        """Delete the states and logs of an order that has ended; its status and times stay."""
        return _object(await self._request("erase", ops.EraseRequest(order_id=order_id)))

    async def history(self, query: OrderQuery = OrderQuery()) -> AsyncIterator[dict[str, Any]]:
        """Yield all runs of the orders that match, each with its order, plan, input and events.

        The events have their dataclips. ``worker import`` makes recordings of them.
        """
        async for listed in self.all_orders(query):
            order = await self.order(listed["order_id"])
            for state in order.pop("all_runs"):
                run = await self.run(state["run_id"])
                plan = run.pop("plan")
                events = await self._events_with_clips(state["run_id"])
                input = await self.input(state["run_id"])
                yield {
                    "type": "run", "order": order, "run": run, "plan": plan, "input": input,
                    "events": events,
                }  # fmt: skip

    async def _events_with_clips(self, run_id: str) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        while page := await self.events(
            run_id, after=events[-1]["seq"] if events else -1, clips=True
        ):
            events += page
        return events

    async def pauses(self) -> list[dict[str, Any]]:
        """List what is paused, since when and by whom."""
        return _objects(await self._request("pauses", wire.Empty()))

    async def actions(self, project: str | None = None) -> list[dict[str, Any]]:
        """List who cancelled, retried, paused or acknowledged what, the latest last."""
        return _objects(await self._request("actions", ops.ActionQuery(project=project)))

    async def count_matching(
        self, action: Literal["cancel", "retry"], query: OrderQuery = OrderQuery()
    ) -> int:
        """Count the orders that :meth:`change_all` would cancel or retry."""
        request = _bulk(action, query, dry_run=True)
        return int(_object(await self._request("bulk", request))["matching"])

    async def change_all(
        self, action: Literal["cancel", "retry"], query: OrderQuery = OrderQuery()
    ) -> AsyncIterator[dict[str, Any]]:
        """Cancel or retry all orders that match, the first received first.

        Yield how many were ``changed`` and ``skipped`` (by reason) in each step.
        """
        request = _bulk(action, query)
        while True:
            changed = _object(await self._request("bulk", request))
            yield changed
            if changed["next"] is None:
                return
            request = msgspec.structs.replace(request, **changed["next"])

    async def all_orders(self, query: OrderQuery = OrderQuery()) -> AsyncIterator[dict[str, Any]]:
        """List all orders that match, newest first, page by page."""
        while page := await self.orders(query):
            for order in page:
                yield order
            last = page[-1]
            query = msgspec.structs.replace(query, before=last["created"], beyond=last["order_id"])

    async def summary(self) -> dict[str, Any]:
        """Count the orders by status, and the waiting and leased runs."""
        return _object(await self._request("summary", wire.Empty()))

    async def workflows(self) -> list[str]:
        """List the names of the registered workflows."""
        names: list[str] = await self._request("workflows", wire.Empty())
        return names

    async def deploy(
        self, file: str | Path, *, project: str = "default", triggers: str | Path | None = None
    ) -> list[dict[str, Any]]:
        """Deploy the workflows of a file with their triggers: all of them, or none.

        ``triggers`` is a file with more triggers, by default ``triggers.yaml`` beside it. Return
        the version of each workflow, and whether it changed. Raises :class:`LoadError` for a file
        that cannot be deployed.
        """
        # Imported late: the other requests read no files.
        from worker.fleet.project_files import read_project

        more = None if triggers is None else Path(triggers)
        request = read_project(Path(file), project=project, triggers=more)
        size, limit = len(wire.encode(request)), self._bus.max_message_bytes
        if size > limit:
            text = (
                f"the project has {size:,} bytes, and a message at most {limit:,}: split the file"
            )
            raise ControlError("too_large", text)
        return _objects(await self._request("deploy", request))

    async def publish(
        self,
        topic: str,
        payload: bytes | str | Mapping[str, Any],
        *,
        properties: Mapping[str, str] | None = None,
        retain: bool = False,
    ) -> None:
        """Publish a message for a topic trigger, and wait until the broker has it.

        A mapping is sent as JSON. ``properties`` are MQTT 5's user properties. Raises
        ``ConnectionError`` while there is no connection.
        """
        if isinstance(payload, Mapping):
            payload = encode_object(payload, "payload")
        content = payload.encode() if isinstance(payload, str) else payload
        named = tuple((properties or {}).items())
        message = Message(topic=topic, payload=content, retain=retain, properties=named)
        await self._connected.wait()
        await self._bus.confirm(message)

    async def rollback(
        self, name: str, *, project: str = "default", version: str = ""
    ) -> dict[str, Any]:
        """Deploy an earlier version of a workflow again, by default the one before."""
        request = trigger_wire.Rollback(name=name, project=project, version=version)
        return _object(await self._request("rollback", request))

    async def deployments(self, project: str | None = None) -> list[dict[str, Any]]:
        """List the deployed workflows with their triggers."""
        query = trigger_wire.DeploymentQuery(project=project)
        return _objects(await self._request("deployments", query))

    async def deployed_workflow(self, name: str, *, project: str = "default") -> dict[str, Any]:
        """Query a deployed workflow with its triggers."""
        ref = trigger_wire.WorkflowRef(name=name, project=project)
        return _object(await self._request("workflow", ref))

    async def workflow_history(
        self, name: str, *, project: str = "default"
    ) -> list[dict[str, Any]]:
        """List the deployments of a workflow, newest first."""
        ref = trigger_wire.WorkflowRef(name=name, project=project)
        return _objects(await self._request("workflow_history", ref))

    async def dead_letters(
        self, *, project: str | None = None, before: int | None = None, limit: int = 50
    ) -> list[dict[str, Any]]:
        """List the messages that no order was made of, newest first.

        For the next page ``before`` is the time of the last one.
        """
        query = trigger_wire.DeadLetterQuery(project=project, before=before, limit=limit)
        return _objects(await self._request("dead_letters", query))

    async def events(
        self, run_id: str, *, after: int = -1, clips: bool = False, limit: int = PAGE_SIZE
    ) -> list[dict[str, Any]]:
        """Return at most ``limit`` events of a run after the sequence number ``after``."""
        query = wire.EventQuery(run_id=run_id, after=after, limit=limit, clips=clips)
        return _objects(_object(await self._request("events", query))["events"])

    async def all_events(self, run_id: str) -> list[dict[str, Any]]:
        """Return all events of a run by now, without dataclips."""
        return await self._fetch_missed(run_id, 0)

    async def final_state(self, run_id: str) -> Any:
        """Return the final state of a run that ended; ``None`` if it has none.

        Raises :class:`ControlError` for a state over the payload limit, which is not stored.
        """
        event = await self._last_event(run_id, "run:complete")
        if event is None:
            return None
        if event.get("withheld"):
            raise ControlError("too_large", f"the final state of run {run_id} was not stored")
        return event.get("final_state")

    async def dataclip(self, run_id: str, dataclip_id: str) -> Any:
        """Return the output of a step, or the final state, by the id that events name.

        Raises :class:`ControlError` where the run has none with this id.
        """
        for event in await self._fetch_missed(run_id, 0):
            for id_field, content in _DATACLIPS.items():
                if event.get(id_field) == dataclip_id:
                    after = event["seq"] - 1
                    (whole,) = await self.events(run_id, after=after, clips=True, limit=1)
                    if content in whole:
                        return whole[content]
        raise ControlError("unknown", f"run {run_id} has no dataclip {dataclip_id}")

    async def _last_event(self, run_id: str, type: str) -> dict[str, Any] | None:
        """Return the last event of a type, with its dataclip."""
        events = [event for event in await self._fetch_missed(run_id, 0) if event["type"] == type]
        if not events:
            return None
        (event,) = await self.events(run_id, after=events[-1]["seq"] - 1, clips=True, limit=1)
        return event

    async def _request(self, method: str, payload: wire.Payload) -> Any:
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
        reply_future: asyncio.Future[wire.Reply] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._wait_s) as timeout:
                request = _PendingRequest(message, reply_future, timeout)
                self._waiting[correlation] = request
                await self._connected.wait()
                if self._failure is not None:
                    raise self._failure
                reply = await self._retransmit_until_reply(request)
        except TimeoutError:
            reason = self._disconnect_reason or "is `worker control-plane` running there?"
            text = f"no control plane answered within {self._wait_s:g} s: {reason}"
            raise NoAnswer(text) from None
        finally:
            self._waiting.pop(correlation, None)
        if reply.error is not None:
            raise ControlError(reply.error.code, reply.error.message)
        return msgspec.json.decode(bytes(reply.ok))

    async def _retransmit_until_reply(self, request: _PendingRequest) -> wire.Reply:
        while True:
            # Chunks of the reply are on their way: another one would only delay them.
            if not request.progressed:
                await self._publish_request(request.message, request.reply)
            request.progressed = False
            done, _ = await asyncio.wait([request.reply], timeout=RETRANSMIT_S)
            if done:
                return request.reply.result()

    async def _publish_request(
        self, message: Message, reply_future: asyncio.Future[wire.Reply]
    ) -> None:
        sent = asyncio.ensure_future(self._bus.confirm(message))
        try:
            # The reply may overtake the acknowledgement of the broker.
            waiting: list[asyncio.Future[Any]] = [reply_future, sent]
            await asyncio.wait(waiting, timeout=RETRANSMIT_S, return_when=asyncio.FIRST_COMPLETED)
            failure = sent.exception() if sent.done() else None
        finally:
            sent.cancel()
        # Without the connection the request is repeated; a denied one gets no reply, ever.
        if isinstance(failure, BrokerRefusal):
            raise NoAnswer(str(failure))

    # --- following --------------------------------------------------------------------------------

    async def follow(self, run_id: str) -> AsyncIterator[dict[str, Any]]:
        """Yield the events of a run in order, without dataclips, until the run ends.

        A run that is lost or cancelled before it starts has no ``run:complete``.
        """
        follower = self._followers.setdefault(run_id, _Follower())
        for channel in ("state", "events"):
            self._bus.subscribe(self._topics.run(run_id, channel))
        next_seq = 0
        while True:
            follower.changed.clear()
            fresh = [event for event in follower.events if event["seq"] >= next_seq]
            follower.events.clear()
            state = follower.state or Status((await self.run(run_id))["status"])
            final = STATUSES[state].final
            # Events may be lost, or arrive before the subscription: the control plane has them all.
            if not fresh or fresh[0]["seq"] > next_seq or final:
                fresh = await self._fetch_missed(run_id, next_seq)
            for event in fresh:
                if event["seq"] == next_seq:
                    next_seq += 1
                    yield event
            if final:
                return
            await self._wait_for_change(follower)

    async def _fetch_missed(self, run_id: str, next_seq: int) -> list[dict[str, Any]]:
        missed: list[dict[str, Any]] = []
        while page := await self.events(run_id, after=next_seq - 1 + len(missed)):
            missed += page
        return missed

    async def _wait_for_change(self, follower: _Follower) -> None:
        # Notifications are sent at most once: after a timeout the state is queried.
        try:
            async with asyncio.timeout(RETRANSMIT_S):
                await follower.changed.wait()
        except TimeoutError:
            follower.state = None

    async def wait(self, run_id: str) -> dict[str, Any]:
        """Wait until a run ends, and return it."""
        async for _ in self.follow(run_id):
            pass
        return await self.run(run_id)

    async def notifications(self) -> AsyncIterator[list[Notification]]:
        """Yield notifications of all runs and orders: states, events without dataclips, alerts.

        The first is a :class:`Gap`. Another one follows a lost connection or a full queue.
        """
        queue = _NotificationQueue()
        self._queues.append(queue)
        # Subscriptions stay: another caller may follow the same topics.
        for filter in self._topics.for_followers():
            self._bus.subscribe(filter)
        try:
            while True:
                yield await queue.take()
        finally:
            self._queues.remove(queue)

    # --- listening --------------------------------------------------------------------------------

    async def _listen(self) -> None:
        while True:
            try:
                arrivals = await self._bus.receive()
            except BrokerRefusal as refusal:
                self._failure = NoAnswer(str(refusal))
                self._connected.set()
                return
            for arrival in arrivals:
                match arrival:
                    case Connected():
                        self._was_connected = True
                        self._failure = None
                        self._connected.set()
                        # Requests sent before the connection broke may be lost.
                        for request in self._waiting.values():
                            self._bus.publish(request.message)
                        self._notify(Gap())
                    case Disconnected(reason):
                        self._on_disconnect(reason)
                    case Message():
                        self._on_message(arrival)

    def _on_disconnect(self, reason: str) -> None:
        self._disconnect_reason = reason
        self._connected.clear()
        # An address that never worked is likely wrong, so requests fail at once. One that worked
        # before is likely to come back: requests wait for it.
        if not self._was_connected:
            self._failure = NoAnswer(reason)
            self._connected.set()

    def _on_message(self, message: Message) -> None:
        try:
            if message.correlation in self._waiting:
                self._on_reply(message)
            else:
                self._on_notification(message)
        except (wire.WireError, msgspec.MsgspecError):
            return  # not from the control plane; what is missing is queried

    def _on_reply(self, message: Message) -> None:
        assert message.correlation is not None
        request = self._waiting[message.correlation]
        # Retransmitted requests may have several replies.
        if request.reply.done():
            return
        reply = wire.decode(wire.Reply, message.payload)
        if reply.chunk is None:
            request.reply.set_result(reply)
            return
        request.add(reply.chunk)
        request.timeout.reschedule(asyncio.get_running_loop().time() + self._wait_s)

    def _on_notification(self, message: Message) -> None:
        payload = unwrap(message.payload)
        # A retained message is old state, not a change.
        if self._queues and not message.retain:
            kind = self._topics.public_kind(message.topic)
            if kind is not None:
                self._notify(wire.decode(_NOTIFICATIONS[kind], payload))
        self._update_follower(message.topic.split("/"), payload)

    def _update_follower(self, levels: list[str], payload: bytes) -> None:
        follower = self._followers.get(levels[-2])
        if follower is None:
            return
        if levels[-1] == "state":
            state = wire.decode(wire.RunState, payload)
            # Control planes that share a store publish in no common order.
            if state.revision < follower.revision:
                return
            follower.state, follower.revision = Status(state.status), state.revision
        else:
            events = wire.decode(wire.RunEvents, payload).events
            follower.events += [msgspec.json.decode(bytes(event)) for event in events]
        follower.changed.set()

    def _notify(self, notification: Notification) -> None:
        for queue in self._queues:
            queue.put(notification)


_DATACLIPS = {
    "output_dataclip_id": "output_dataclip",
    "final_dataclip_id": "final_state",
}

_NOTIFICATIONS: dict[str, Any] = {
    "run": wire.RunState,
    "order": wire.OrderState,
    "events": wire.RunEvents,
    "alert": wire.Alert,
}


def _raw(value: Mapping[str, Any] | None, name: str) -> msgspec.Raw:
    return msgspec.Raw(wire.well_formed(encode_object(value, name)).encode())


def _bulk(
    action: Literal["cancel", "retry"], query: OrderQuery, *, dry_run: bool = False
) -> ops.BulkRequest:
    fields = msgspec.structs.asdict(query)
    return ops.BulkRequest(action=action, batch=random_hex(16), dry_run=dry_run, **fields)


def _time_us(time: datetime | None) -> int | None:
    """Convert a time to microseconds since the epoch; one without a zone is a local one."""
    return None if time is None else int(time.timestamp() * 1e6)


def _object(value: Any) -> dict[str, Any]:
    assert isinstance(value, dict)
    return value


def _objects(value: Any) -> list[dict[str, Any]]:
    assert isinstance(value, list)
    return value
