"""The control plane at work: a bus on one side, the plane on the other, the clock between.

The plane works in a thread of its own, one batch at a time; what arrives meanwhile is the next
batch. So the more there is to do, the more is done in one transaction.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from worker.fleet.control.alerts import AlertNotifier
from worker.fleet.control.message_processor import MessageProcessor
from worker.fleet.control.unit_of_work import Outgoing
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import Arrival, Bus, Connected, Disconnected, Message
from worker.fleet.messaging.instance_id import incarnation
from worker.fleet.messaging.topics import Topics
from worker.sinks.log import LeveledLogger
from worker.version import VERSION

TICK_S = 0.25
PAUSE_S, LONGEST_PAUSE_S = 0.002, 0.025
"""The pause after a batch, for each of its messages: a transaction costs nearly as much for one
message as for twenty, so under load it pays to let some come together. Who comes first after a
quiet time is not kept waiting."""
T = TypeVar("T")


def control_will(topics: Topics, id: str) -> Message:
    """What the broker says when a control plane is gone."""
    return _presence(topics, id, online=False)


def _presence(topics: Topics, id: str, *, online: bool) -> Message:
    told = wire.Presence(incarnation=id, online=online, version=VERSION)
    return Message(topic=topics.control, payload=wire.encode(told), retain=True)


class ControlPlane:
    """Runs a plane over a bus until it is cancelled."""

    def __init__(
        self,
        bus: Bus,
        plane: MessageProcessor,
        *,
        topics: Topics,
        log: LeveledLogger,
        id: str = "",
        superuser: AlertNotifier = AlertNotifier(),
        dress: Callable[[Message], Message] = lambda message: message,
    ) -> None:
        self._bus = bus
        self._plane = plane
        self._topics = topics
        self._log = log
        self._id = id or incarnation()
        self._superuser = superuser
        self._dress = dress
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="plane")
        self._telling: set[asyncio.Task[None]] = set()
        self.connected = asyncio.Event()
        self.handled = 0
        self.refused: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()

    async def run(self) -> None:
        """Work until cancelled; what was begun is finished first."""
        try:
            async with self._bus:
                await self._serve()
        finally:
            self._thread.shutdown(wait=True)

    async def _serve(self) -> None:
        due = 0.0
        try:
            while True:
                wait = max(0.0, due - time.monotonic())
                arrivals = await self._bus.receive(wait)
                began = time.monotonic()
                await self._take(arrivals)
                if time.monotonic() >= due:
                    self._say(await self._on_thread(lambda: self._plane.tick(now())))
                    due = time.monotonic() + TICK_S
                pause = min(LONGEST_PAUSE_S, PAUSE_S * len(arrivals))
                await asyncio.sleep(began + pause - time.monotonic())
        finally:
            self._bus.publish(_presence(self._topics, self._id, online=False))

    async def _take(self, arrivals: Sequence[Arrival]) -> None:
        """Messages in one batch; a change of the connection in its turn."""
        messages: list[Message] = []
        for arrival in arrivals:
            match arrival:
                case Message():
                    messages.append(arrival)
                case Connected():
                    await self._process(messages)
                    messages = []
                    await self._connect()
                case Disconnected(reason):
                    await self._process(messages)
                    messages = []
                    self.connected.clear()
                    self._plane.disconnected()
                    self._log.warning("the broker is gone", why=reason)
        await self._process(messages)

    async def _connect(self) -> None:
        self._say(await self._on_thread(lambda: self._plane.connected(now())))
        self._bus.publish(_presence(self._topics, self._id, online=True))
        self.connected.set()
        self._log.info("the control plane is there", incarnation=self._id)

    async def _process(self, messages: Sequence[Message]) -> None:
        if messages:
            self.handled += len(messages)
            self._say(await self._on_thread(lambda: self._plane.process(messages, now())))

    async def _on_thread(self, act: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, act)

    def _say(self, said: Outgoing) -> None:
        for message in said.messages:
            self._bus.publish(self._dress(message))
        for refusal in said.refusals:
            self.refused[refusal.kind] += 1
            self._log.warning(
                "refused", kind=refusal.kind, topic=refusal.topic, why=refusal.message
            )
        self.ended.update({status.value: count for status, count in said.ended.items()})
        if said.alerts:
            task = asyncio.create_task(self._alarm(said.alerts))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def _alarm(self, alerts: Sequence[wire.Alert]) -> None:
        for alert in alerts:
            message = Message(topic=self._topics.alerts, payload=wire.encode(alert), once=True)
            self._bus.publish(self._dress(message))
            await self._superuser.tell(alert, self._log)
        run_ids = [alert.run_id for alert in alerts]
        await self._on_thread(lambda: self._plane.notified(run_ids, now()))


def now() -> int:
    return time.time_ns() // 1000
