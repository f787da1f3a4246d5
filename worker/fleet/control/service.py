"""The control plane as a service: receives messages from a bus and publishes the results.

The processor works in a thread of its own, one batch at a time; messages that arrive meanwhile form
the next batch. So the higher the load, the more messages share one transaction.
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
from worker.fleet.control.store.store import outage
from worker.fleet.control.unit_of_work import Outgoing
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import Arrival, Bus, Connected, Disconnected, Message
from worker.fleet.messaging.instance_id import incarnation
from worker.fleet.messaging.topics import Topics
from worker.sinks.log import LeveledLogger
from worker.util.machine_clock import now_us
from worker.version import VERSION

TICK_S = 0.25
# A transaction costs nearly as much for one message as for twenty, so under load a short pause
# after each batch, for each of its messages, raises the throughput. The first message after a
# quiet time is not delayed.
PAUSE_PER_MESSAGE_S, MAX_PAUSE_S = 0.002, 0.025
MIN_STORE_PAUSE_S, MAX_STORE_PAUSE_S = 0.2, 10.0
T = TypeVar("T")


def control_will(topics: Topics, id: str) -> Message:
    """Build the message that the broker publishes when a control plane's connection breaks."""
    return _presence(topics, id, online=False)


def _presence(topics: Topics, id: str, *, online: bool) -> Message:
    presence = wire.Presence(incarnation=id, online=online, version=VERSION)
    return Message(topic=topics.control, payload=wire.encode(presence), retain=True)


class ControlPlane:
    """A service that runs a processor on a bus.

    ``encode`` transforms each message before it is published (CloudEvents).
    """

    def __init__(
        self,
        bus: Bus,
        processor: MessageProcessor,
        *,
        topics: Topics,
        log: LeveledLogger,
        id: str = "",
        notifier: AlertNotifier = AlertNotifier(),
        encode: Callable[[Message], Message] = lambda message: message,
    ) -> None:
        self._bus = bus
        self._processor = processor
        self._topics = topics
        self._log = log
        self._id = id or incarnation()
        self._notifier = notifier
        self._encode = encode
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="processor")
        self._alert_tasks: set[asyncio.Task[None]] = set()
        self.connected = asyncio.Event()
        self.store_outage = ""
        """Why the database cannot be used; empty while it can."""
        self.handled = 0
        self.refused: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()

    async def run(self) -> None:
        """Work until cancelled; a batch that has begun is finished first."""
        try:
            async with self._bus:
                await self._serve()
        finally:
            self._thread.shutdown(wait=True)

    async def _serve(self) -> None:
        next_tick = 0.0
        try:
            while True:
                wait_s = max(0.0, next_tick - time.monotonic())
                arrivals = await self._bus.receive(wait_s)
                began = time.monotonic()
                await self._handle_arrivals(arrivals)
                if time.monotonic() >= next_tick:
                    self._publish(await self._on_thread(lambda: self._processor.tick(now_us())))
                    next_tick = time.monotonic() + TICK_S
                pause_s = min(MAX_PAUSE_S, PAUSE_PER_MESSAGE_S * len(arrivals))
                await asyncio.sleep(began + pause_s - time.monotonic())
        finally:
            self._bus.publish(_presence(self._topics, self._id, online=False))

    async def _handle_arrivals(self, arrivals: Sequence[Arrival]) -> None:
        # Messages are processed before a change of the connection that came after them.
        messages: list[Message] = []
        for arrival in arrivals:
            match arrival:
                case Message():
                    messages.append(arrival)
                case Connected():
                    await self._process(messages)
                    messages = []
                    await self._on_connected()
                case Disconnected(reason):
                    await self._process(messages)
                    messages = []
                    self.connected.clear()
                    self._processor.on_disconnected()
                    self._log.warning("broker.disconnected", error=reason)
        await self._process(messages)

    async def _on_connected(self) -> None:
        self._publish(await self._on_thread(lambda: self._processor.on_connected(now_us())))
        self._bus.publish(_presence(self._topics, self._id, online=True))
        self.connected.set()
        self._log.info("broker.connected", incarnation=self._id)

    async def _process(self, messages: Sequence[Message]) -> None:
        if messages:
            self.handled += len(messages)
            results = await self._on_thread(lambda: self._processor.process(messages, now_us()))
            self._publish(results)

    async def _on_thread(self, call: Callable[[], T]) -> T:
        """Call in the processor's thread; where the database fails, until it works again."""
        pause_s = MIN_STORE_PAUSE_S
        while True:
            try:
                result = await asyncio.get_running_loop().run_in_executor(self._thread, call)
            except Exception as error:
                if not (reason := outage(error)):
                    raise
                if not self.store_outage:
                    self._log.critical("store.unavailable", error=reason)
                self.store_outage = reason
            else:
                if self.store_outage:
                    self._log.warning("store.available")
                self.store_outage = ""
                return result
            # Messages wait meanwhile: answered by nobody, they are retransmitted.
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, MAX_STORE_PAUSE_S)

    @property
    def problem(self) -> str:
        """Why this control plane does not work now; empty where it does."""
        if self.store_outage:
            return f"cannot use the database: {self.store_outage}"
        return "" if self.connected.is_set() else "not connected"

    def _publish(self, outgoing: Outgoing) -> None:
        for message in outgoing.messages:
            self._bus.publish(self._encode(message))
        self.refused.update(refusal.kind for refusal in outgoing.refusals)
        self._log_warnings(outgoing)
        self.ended.update({status.value: count for status, count in outgoing.ended.items()})
        if outgoing.alerts:
            # In a task of its own: a slow webhook must not delay the next batch.
            task = asyncio.create_task(self._send_alerts(outgoing.alerts))
            self._alert_tasks.add(task)
            task.add_done_callback(self._alert_tasks.discard)

    def _log_warnings(self, outgoing: Outgoing) -> None:
        for refusal in outgoing.refusals:
            self._log.warning(
                "message.refused", kind=refusal.kind, topic=refusal.topic, error=refusal.message
            )
        for run in outgoing.expired:
            self._log.warning(
                "lease.expired", run_id=run.id, attempt=run.attempt, worker=run.worker
            )

    async def _send_alerts(self, alerts: Sequence[wire.Alert]) -> None:
        for alert in alerts:
            message = Message(topic=self._topics.alerts, payload=wire.encode(alert), confirm=True)
            self._bus.publish(self._encode(message))
            await self._notifier.notify(alert, self._log)
        run_ids = [alert.run_id for alert in alerts]
        await self._on_thread(lambda: self._processor.mark_notified(run_ids, now_us()))
