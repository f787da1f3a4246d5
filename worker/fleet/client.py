"""Client of a control plane: submits work orders, and follows, retries and cancels their runs.

    async with Client(bus) as client:
        order = await client.submit(plan=plan, input={"data": {}})
        async for event in client.follow(order.last_run):
            ...

Each request is retransmitted until a reply arrives. Requests are idempotent: ids are chosen here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self

import msgspec

from worker.core.status import STATUSES, Status
from worker.errors import UsageError
from worker.fleet.control_errors import ControlError
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging import operation_messages as ops
from worker.fleet.messaging import trigger_messages as trigger_wire
from worker.fleet.messaging.bus import AccessDenied, Bus, Connected, Disconnected, Message
from worker.fleet.messaging.client_messages import (
    CountQuery,
    DataclipRef,
    Empty,
    EventQuery,
    OrderQuery,
    OrderRef,
    RecordedQuery,
    RetryRequest,
    RunQuery,
    RunRef,
    Submit,
    WorkflowQuery,
)
from worker.fleet.messaging.messages import RunOptions
from worker.fleet.messaging.topics import Topics
from worker.fleet.notifications import Follower, Gap, Notification, Subscribers
from worker.fleet.reply_objects import (
    ListedWorker,
    Order,
    Run,
    order_of_reply,
    run_of_reply,
    worker_of_reply,
)
from worker.fleet.request_channel import RETRANSMIT_S, RequestChannel
from worker.util.machine_clock import random_hex
from worker.workflow.json_input import encode_object
from worker.workflow.order_retry import OrderRetry

PAGE_SIZE = 500


MAX_WAIT_S = 10**9
"""Longest timeout of a reply: the messages hold it as 32 bits, and no timer waits longer."""


def client_name() -> str:
    """Generate a unique name that nobody can guess: replies are published to it."""
    return f"c-{random_hex(16)}"


class Client:
    """Client of a control plane: :func:`connect` and :func:`local_fleet` create one.

    ``wait_s`` is the timeout of a reply. ``name`` is the client id on a broker whose access list
    depends on it; by default it is generated. ``user`` is the name on the broker by which a policy
    knows the client. ``on_wait`` is called once, when a reply has taken a second.
    """

    def __init__(
        self,
        bus: Bus,
        topics: Topics = Topics(),
        *,
        wait_s: float = 10.0,
        name: str = "",
        user: str = "",
        on_wait: Callable[[], None] | None = None,
    ) -> None:
        if not 0 < wait_s <= MAX_WAIT_S:
            raise UsageError(f"wait_s: expected seconds above 0 and up to {MAX_WAIT_S:,}")
        self._bus = bus
        self._topics = topics
        self._name = name or client_name()
        self._channel = RequestChannel(
            bus, topics, wait_s=wait_s, name=self._name, user=user, on_wait=on_wait
        )
        self._subscribers = Subscribers(bus, topics)
        self._request = self._channel.request

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
    ) -> Order:
        """Submit a work order for a registered workflow or for an execution plan.

        It does not begin before ``not_before``, and is rejected where it has not by ``start_by``.
        At most one order of a project with the same ``unique`` key waits or runs: a newer one
        replaces one that waits, and is rejected while one runs. With ``over_limit="queue"`` it
        waits instead, here and at the limits of its project. ``retry`` repeats it where it ends
        badly. It runs on workers with all labels of ``placement``. Return the order; its ``status``
        is ``pending``, or ``rejected`` with a ``reason``.
        """
        request = Submit(
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
        return order_of_reply(_object(await self._channel.request_of_any_size("submit", request)))

    async def retry(
        self,
        id: str,
        *,
        from_step: str | None = None,
        latest: bool = False,
        run_id: str | None = None,
    ) -> Order:
        """Start a new run of an order, given by its id or that of one of its runs.

        ``latest`` takes the workflow as the control plane has it by now. An order that was rejected
        runs for the first time. ``run_id`` is the id of the new run; requests with the same id make
        one run.
        """
        request = RetryRequest(
            id=id, run_id=run_id or random_hex(16), from_step=from_step, latest=latest
        )
        return order_of_reply(_object(await self._request("retry", request)))

    async def cancel(self, id: str) -> Run:
        """Cancel a run, or the last run of an order.

        A running run is cancelled later, when its worker confirms it.
        """
        return run_of_reply(_object(await self._request("cancel", RunRef(id=id))))

    async def run(self, id: str) -> Run:
        """Query a run, or the last run of an order, with its steps."""
        return run_of_reply(_object(await self._request("run", RunRef(id=id))))

    async def input(self, id: str) -> dict[str, Any]:
        """Fetch the input of a run, without a configuration that it may hold."""
        state: dict[str, Any] = _object(await self._request("input", RunRef(id=id)))["input"]
        return state

    async def order(self, id: str) -> Order:
        """Query an order with all of its runs."""
        return order_of_reply(_object(await self._request("order", OrderRef(order_id=id))))

    async def orders(self, query: OrderQuery = OrderQuery()) -> list[Order]:
        """List orders, newest first."""
        return [order_of_reply(fields) for fields in await self._list("orders", query)]

    async def runs(self, query: RunQuery = RunQuery()) -> list[Run]:
        """List runs of all orders, newest first."""
        return [run_of_reply(fields) for fields in await self._list("runs", query)]

    async def _list(self, method: str, query: OrderQuery) -> list[dict[str, Any]]:
        """Request part after part, as one query must not hold up the control plane."""
        items: list[dict[str, Any]] = []
        query = msgspec.structs.replace(query, partial=True)
        while True:
            reply = await self._request(method, query)
            # A control plane of an earlier version lists all at once.
            part = _objects(reply if isinstance(reply, list) else reply["items"])
            items += part
            if isinstance(reply, list) or reply["next"] is None:
                return items
            limit = query.limit - len(part)
            query = msgspec.structs.replace(query, limit=limit, **reply["next"])

    async def count(self, query: OrderQuery = OrderQuery(), *, at_most: int = 10_000) -> int:
        """Count the orders that match, or the runs for a :class:`RunQuery`, up to ``at_most``."""
        # Of all pages, whichever one is listed.
        first = {"before": None, "beyond": None, "partial": True}
        fields = {**msgspec.structs.asdict(query), **first}
        of: Literal["orders", "runs"] = "runs" if isinstance(query, RunQuery) else "orders"
        request = CountQuery(of=of, at_most=at_most, **fields)
        counted = 0
        while True:
            reply = _object(await self._request("count", request))
            counted += int(reply["matching"])
            # A control plane of an earlier version counts all at once.
            if (place := reply.get("next")) is None:
                return counted
            request = msgspec.structs.replace(request, at_most=at_most - counted, **place)

    async def workers(self) -> list[ListedWorker]:
        """List the workers with their leases."""
        return [
            worker_of_reply(fields) for fields in _objects(await self._request("workers", Empty()))
        ]

    async def alerts(self) -> list[dict[str, Any]]:
        """List the newest runs that ended as exception or lost."""
        return _objects(await self._request("alerts", Empty()))

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
                pages = self.each_event(state["run_id"], clips=True)
                events = [event async for event in pages]
                input = await self.input(state["run_id"])
                yield {
                    "type": "run", "order": order, "run": run, "plan": plan, "input": input,
                    "events": events,
                }  # fmt: skip

    async def pauses(self) -> list[dict[str, Any]]:
        """List what is paused, since when and by whom."""
        return _objects(await self._request("pauses", Empty()))

    async def actions(self, project: str | None = None) -> list[dict[str, Any]]:
        """List who cancelled, retried, paused or acknowledged what, the latest last."""
        return _objects(await self._request("actions", ops.ActionQuery(project=project)))

    async def count_matching(
        self, action: Literal["cancel", "retry"], query: OrderQuery = OrderQuery()
    ) -> int:
        """Count the orders that :meth:`change_all` would cancel or retry."""
        request = msgspec.structs.replace(_bulk(action, query, dry_run=True), partial=True)
        return sum([int(part["matching"]) async for part in self._change_parts(request)])

    async def change_all(
        self, action: Literal["cancel", "retry"], query: OrderQuery = OrderQuery()
    ) -> AsyncIterator[dict[str, Any]]:
        """Cancel or retry all orders that match, the first received first.

        Yield how many were ``changed`` and ``skipped`` (by reason) in each step.
        """
        async for changed in self._change_parts(_bulk(action, query)):
            yield changed

    async def _change_parts(self, request: ops.BulkRequest) -> AsyncIterator[dict[str, Any]]:
        """Send a request part after part, and yield the replies."""
        while True:
            reply = _object(await self._request("bulk", request))
            yield reply
            if reply["next"] is None:
                return
            request = msgspec.structs.replace(request, **reply["next"])

    async def all_orders(self, query: OrderQuery = OrderQuery()) -> AsyncIterator[dict[str, Any]]:
        """List all orders that match, newest first, page by page."""
        while page := await self.orders(query):
            for order in page:
                yield order
            last = page[-1]
            query = msgspec.structs.replace(query, before=last["created"], beyond=last["order_id"])

    async def summary(self) -> dict[str, Any]:
        """Count the orders by status, and the waiting and leased runs."""
        return _object(await self._request("summary", Empty()))

    async def workflows(self) -> list[str]:
        """List the names of the registered workflows."""
        names: list[str] = await self._request("workflows", WorkflowQuery())
        return names

    async def workflow_keys(self) -> dict[str, list[str]]:
        """Return the registered workflows by name, each with its other names, such as its key."""
        rows = await self._request("workflows", WorkflowQuery(keys=True))
        # A control plane of version 0.1.0 knows the names alone.
        return {
            (row if isinstance(row, str) else row["name"]): (
                [] if isinstance(row, str) else row["keys"]
            )
            for row in rows
        }

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
        return _objects(await self._channel.request_of_any_size("deploy", request))

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
        await self._channel.connected.wait()
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

    async def workflow_version(
        self, name: str, *, project: str = "default", version: str = ""
    ) -> dict[str, Any]:
        """Query a version of a workflow, by default the present one, with its ``plan``.

        ``version`` may be a beginning of it. The plan has no secrets.
        """
        ref = trigger_wire.VersionRef(name=name, project=project, version=version)
        return _object(await self._request("workflow_version", ref))

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
        query = EventQuery(run_id=run_id, after=after, limit=limit, clips=clips)
        return _objects(_object(await self._request("events", query))["events"])

    async def each_event(
        self, run_id: str, *, after: int = -1, clips: bool = False, limit: int = PAGE_SIZE
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield all events of a run by now, ``limit`` to a request."""
        while page := await self.events(run_id, after=after, clips=clips, limit=limit):
            for event in page:
                yield event
            after = page[-1]["seq"]

    async def all_events(self, run_id: str) -> list[dict[str, Any]]:
        """Return all events of a run by now, without dataclips."""
        return [event async for event in self.each_event(run_id)]

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
        ref = DataclipRef(run_id=run_id, dataclip_id=dataclip_id)
        return await self._request("dataclip", ref)

    async def recorded(self, run_id: str) -> AsyncIterator[tuple[int, str]]:
        """Yield the lines that were recorded of a run whose order asked for it.

        Each text of lines has the number of the event before which they were recorded.
        """
        after = -1
        while True:
            query = RecordedQuery(run_id=run_id, after=after)
            reply = _object(await self._request("recorded", query))
            if reply["seq"] is None:
                return
            after = int(reply["seq"])
            yield after, str(reply["lines"])

    async def _last_event(self, run_id: str, type: str) -> dict[str, Any] | None:
        """Return the last event of a type, with its dataclip."""
        events = [event async for event in self.each_event(run_id) if event["type"] == type]
        if not events:
            return None
        (event,) = await self.events(run_id, after=events[-1]["seq"] - 1, clips=True, limit=1)
        return event

    # --- following --------------------------------------------------------------------------------

    async def follow(self, run_id: str) -> AsyncIterator[dict[str, Any]]:
        """Yield the events of a run in order, without dataclips, until the run ends.

        A run that is lost or cancelled before it starts has no ``run:complete``.
        """
        with self._subscribers.follower(run_id) as follower:
            next_seq = 0
            while True:
                follower.changed.clear()
                fresh = [event for event in follower.events if event["seq"] >= next_seq]
                follower.events.clear()
                state = follower.state or Status((await self.run(run_id))["status"])
                final = STATUSES[state].final
                # Events may be lost, or come before the subscription: the control plane has all.
                if not fresh or fresh[0]["seq"] > next_seq or final:
                    missed = self.each_event(run_id, after=next_seq - 1)
                    fresh = [event async for event in missed]
                for event in fresh:
                    if event["seq"] == next_seq:
                        next_seq += 1
                        yield event
                if final:
                    return
                await self._wait_for_change(follower)

    async def _wait_for_change(self, follower: Follower) -> None:
        # Notifications are sent at most once: after a timeout the state is queried.
        try:
            async with asyncio.timeout(RETRANSMIT_S):
                await follower.changed.wait()
        except TimeoutError:
            follower.state = None

    async def wait(self, run_id: str) -> Run:
        """Wait until a run ends, and return it."""
        async for _ in self.follow(run_id):
            pass
        return await self.run(run_id)

    async def notifications(self) -> AsyncIterator[list[Notification]]:
        """Yield notifications of all runs and orders: states, events without dataclips, alerts.

        The first is a :class:`Gap`. Another one follows a lost connection or a full queue.
        """
        with self._subscribers.queue() as queue:
            while True:
                yield await queue.take()

    # --- listening --------------------------------------------------------------------------------

    async def _listen(self) -> None:
        while True:
            try:
                arrivals = await self._bus.receive()
            except AccessDenied as refusal:
                self._channel.on_refused(refusal)
                return
            for arrival in arrivals:
                match arrival:
                    case Connected():
                        self._channel.on_connected()
                        self._subscribers.notify(Gap())
                    case Disconnected(reason):
                        self._channel.on_disconnected(reason)
                    case Message():
                        self._on_message(arrival)

    def _on_message(self, message: Message) -> None:
        try:
            if not self._channel.receive(message):
                self._subscribers.receive(message)
        except (wire.WireError, msgspec.MsgspecError):
            return  # not from the control plane; what is missing is queried


def _raw(value: Mapping[str, Any] | None, name: str) -> msgspec.Raw:
    return msgspec.Raw(wire.well_formed(encode_object(value, name)).encode())


def _bulk(
    action: Literal["cancel", "retry"], query: OrderQuery, *, dry_run: bool = False
) -> ops.BulkRequest:
    # In large steps: all that match are changed, whatever a page of them would be.
    fields = msgspec.structs.asdict(query) | {"limit": ops.MAX_STEP}
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
