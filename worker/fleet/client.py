"""A client of a control plane: submits work orders, follows, retries and cancels their runs.

    async with Client(bus) as client:
        order = await client.submit(plan=plan, input={"data": {}})
        async for event in client.follow(order["last_run"]):
            ...

Each request is said again until it is answered, and made so that saying it twice does it once.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec

from worker.core.status import STATUSES, Status
from worker.errors import WorkerError
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import Bus, Connected, Disconnected, Message
from worker.fleet.messaging.cloudevents import unwrap
from worker.fleet.messaging.messages import OrderQuery, RunOptions
from worker.fleet.messaging.topics import Topics
from worker.util.json import dumps

REPEAT_S = 2.0
PAGE = 500
NEWS_KEPT = 10_000


class ControlError(WorkerError):
    """The control plane does not do what was asked.

    ``code``: invalid, unknown, conflict, rejected, too_large.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class NoAnswer(WorkerError):
    """No control plane answers."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Something may have been missed: what one knows has to be asked for anew."""


News = wire.RunState | wire.OrderState | wire.RunEvents | wire.Alert | Gap


@dataclass(slots=True)
class _Following:
    """What is heard of a run that somebody follows."""

    heard: asyncio.Event = field(default_factory=asyncio.Event)
    state: Status | None = None
    events: list[dict[str, Any]] = field(default_factory=list)


class _Hearing:
    """The news that somebody has not taken yet: at most ``NEWS_KEPT``, and a gap for more."""

    def __init__(self) -> None:
        self._news: deque[News] = deque([Gap()])
        self._some = asyncio.Event()

    def put(self, one: News) -> None:
        if len(self._news) >= NEWS_KEPT:
            self._news.clear()
            one = Gap()
        self._news.append(one)
        self._some.set()

    async def take(self) -> list[News]:
        if not self._news:
            self._some.clear()
            await self._some.wait()
        taken = list(self._news)
        self._news.clear()
        return taken


def client_name() -> str:
    """A name that nobody else has, and nobody can guess: answers go there."""
    return f"c-{uuid.uuid4().hex}"


class Client:
    """Asks a control plane over a bus. ``wait_s`` is how long an answer may take; ``name`` is the
    client id on a broker whose access list goes by it (:func:`client_name` makes one)."""

    def __init__(
        self, bus: Bus, topics: Topics = Topics(), *, wait_s: float = 10.0, name: str = ""
    ) -> None:
        self._bus = bus
        self._topics = topics
        self._wait_s = wait_s
        self._name = name or client_name()
        self._waiting: dict[bytes, tuple[Message, asyncio.Future[wire.Reply]]] = {}
        self._following: dict[str, _Following] = {}
        self._hearing: list[_Hearing] = []
        self._connected = asyncio.Event()
        self._trouble = ""

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
    ) -> dict[str, Any]:
        """A work order, for a workflow that the control plane knows by name or for an execution
        plan. Gives the order, with its ``status``: ``pending``, or ``rejected`` with a ``reason``.
        """
        wanted = wire.Submit(
            order_id=order_id or uuid.uuid4().hex,
            workflow=workflow,
            plan=wire.NULL if plan is None else _raw(plan),
            input=_raw(input or {}),
            project=project,
            priority=priority,
            options=options,
        )
        return _object(await self.request("submit", wanted))

    async def retry(self, id: str, *, from_step: str | None = None) -> dict[str, Any]:
        """A new run of an order (by its id, or that of one of its runs)."""
        wanted = wire.RetryRequest(id=id, run_id=uuid.uuid4().hex, from_step=from_step)
        return _object(await self.request("retry", wanted))

    async def cancel(self, id: str) -> dict[str, Any]:
        """Cancel a run (or the last run of an order). One that runs is not cancelled yet when
        this returns: its worker has to confirm it."""
        return _object(await self.request("cancel", wire.RunRef(id=id)))

    async def run(self, id: str) -> dict[str, Any]:
        """A run (or the last run of an order) with its steps."""
        return _object(await self.request("run", wire.RunRef(id=id)))

    async def order(self, id: str) -> dict[str, Any]:
        """An order with all of its runs."""
        return _object(await self.request("order", wire.OrderRef(order_id=id)))

    async def orders(self, query: OrderQuery = OrderQuery()) -> list[dict[str, Any]]:
        """Orders, newest first."""
        return _objects(await self.request("orders", query))

    async def workers(self) -> list[dict[str, Any]]:
        """The workers, with the leases that they have."""
        return _objects(await self.request("workers", wire.Empty()))

    async def alerts(self) -> list[dict[str, Any]]:
        """The newest runs that ended as exception or lost."""
        return _objects(await self.request("alerts", wire.Empty()))

    async def summary(self) -> dict[str, Any]:
        """How many orders there are in each status, and how many runs wait and go."""
        return _object(await self.request("summary", wire.Empty()))

    async def workflows(self) -> list[str]:
        """The names of the workflows that the control plane knows."""
        found: list[str] = await self.request("workflows", wire.Empty())
        return found

    async def events(
        self, run_id: str, *, after: int = -1, clips: bool = False, limit: int = PAGE
    ) -> list[dict[str, Any]]:
        """Up to a page of a run's events after the one numbered ``after``."""
        query = wire.EventQuery(run_id=run_id, after=after, limit=limit, clips=clips)
        return _objects(_object(await self.request("events", query))["events"])

    async def request(self, method: str, shape: wire.Payload) -> Any:
        """Ask, and ask again until there is an answer. Raises :class:`ControlError` where the
        control plane refuses, and :class:`NoAnswer` where there is none in time."""
        correlation = uuid.uuid4().bytes
        message = Message(
            topic=self._topics.request(method),
            payload=wire.encode(shape),
            reply_to=self._topics.client(self._name),
            correlation=correlation,
        )
        answer: asyncio.Future[wire.Reply] = asyncio.get_running_loop().create_future()
        self._waiting[correlation] = message, answer
        try:
            async with asyncio.timeout(self._wait_s):
                reply = await self._answered(message, answer)
        except TimeoutError:
            why = self._trouble or "is `worker control-plane` running there?"
            text = f"no control plane answered within {self._wait_s:g} s: {why}"
            raise NoAnswer(text) from None
        finally:
            del self._waiting[correlation]
        if reply.error is not None:
            raise ControlError(reply.error.code, reply.error.message)
        return msgspec.json.decode(bytes(reply.ok))

    async def _answered(self, message: Message, answer: asyncio.Future[wire.Reply]) -> wire.Reply:
        await self._connected.wait()
        while True:
            self._bus.publish(message)
            done, _ = await asyncio.wait([answer], timeout=REPEAT_S)
            if done:
                return answer.result()

    # --- following --------------------------------------------------------------------------------

    async def follow(self, run_id: str) -> AsyncIterator[dict[str, Any]]:
        """The events of a run as they come, from its first to its last, without their dataclips.

        Ends when the run has ended; a run that is lost or cancelled before it starts has no
        ``run:complete``.
        """
        following = self._following.setdefault(run_id, _Following())
        for what in ("state", "events"):
            self._bus.subscribe(self._topics.run(run_id, what))
        next_seq = 0
        while True:
            following.heard.clear()
            fresh = [one for one in following.events if one["seq"] >= next_seq]
            following.events.clear()
            state = following.state or Status((await self.run(run_id))["status"])
            final = STATUSES[state].final
            if not fresh or fresh[0]["seq"] > next_seq or final:
                fresh = await self._missed(run_id, next_seq)
            for event in fresh:
                if event["seq"] == next_seq:
                    next_seq += 1
                    yield event
            if final:
                return
            await self._hear(following)

    async def _missed(self, run_id: str, next_seq: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while page := await self.events(run_id, after=next_seq - 1 + len(found)):
            found += page
        return found

    async def _hear(self, following: _Following) -> None:
        """Wait for news; what the bus lost is asked for after a while."""
        try:
            async with asyncio.timeout(REPEAT_S):
                await following.heard.wait()
        except TimeoutError:
            following.state = None

    async def wait(self, run_id: str) -> dict[str, Any]:
        """The run, when it has ended."""
        async for _ in self.follow(run_id):
            pass
        return await self.run(run_id)

    async def news(self) -> AsyncIterator[list[News]]:
        """What becomes of all runs and orders from now on, as it is said: new states, events
        without their dataclips, alerts. Begins with a :class:`Gap`; another follows where the
        connection broke, or where more came than was taken."""
        hearing = _Hearing()
        self._hearing.append(hearing)
        for filter in self._topics.for_followers():
            self._bus.subscribe(filter)
        try:
            while True:
                yield await hearing.take()
        finally:
            self._hearing.remove(hearing)

    # --- listening --------------------------------------------------------------------------------

    async def _listen(self) -> None:
        while True:
            for arrival in await self._bus.receive():
                match arrival:
                    case Connected():
                        self._connected.set()
                        for message, _ in self._waiting.values():
                            self._bus.publish(message)
                        self._tell(Gap())
                    case Disconnected(reason):
                        self._trouble = reason
                        self._connected.clear()
                    case Message():
                        self._heed(arrival)

    def _heed(self, message: Message) -> None:
        try:
            if message.correlation in self._waiting:
                _, answer = self._waiting[message.correlation]
                if not answer.done():
                    answer.set_result(wire.decode(wire.Reply, message.payload))
                return
            payload = unwrap(message.payload)
            if self._hearing and not message.retain:
                shape = self._topics.public_kind(message.topic)
                if shape is not None:
                    self._tell(wire.decode(_NEWS[shape], payload))
            levels = message.topic.split("/")
            following = self._following.get(levels[-2])
            if following is None:
                return
            if levels[-1] == "state":
                state = wire.decode(wire.RunState, payload)
                following.state = Status(state.status)
            else:
                events = wire.decode(wire.RunEvents, payload).events
                following.events += [msgspec.json.decode(bytes(one)) for one in events]
            following.heard.set()
        except (wire.WireError, msgspec.MsgspecError):
            return  # not from our control plane: what is missing is asked for

    def _tell(self, news: News) -> None:
        for hearing in self._hearing:
            hearing.put(news)


_NEWS: dict[str, Any] = {
    "run": wire.RunState,
    "order": wire.OrderState,
    "events": wire.RunEvents,
    "alert": wire.Alert,
}


def _raw(value: Mapping[str, Any]) -> msgspec.Raw:
    return msgspec.Raw(wire.well_formed(dumps(dict(value))).encode())


def _object(found: Any) -> dict[str, Any]:
    assert isinstance(found, dict)
    return found


def _objects(found: Any) -> list[dict[str, Any]]:
    assert isinstance(found, list)
    return found
