"""The control plane as a service: receives messages from a bus and publishes the results.

The processor works in a thread of its own, one batch at a time; messages that arrive meanwhile form
the next batch. So the higher the load, the more messages share one transaction. While the database
is away, a batch is repeated with increasing pauses.
"""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import Connection

from worker.fleet.control.alerts import AlertDispatcher, AlertNotifier
from worker.fleet.control.broker_echo import BrokerEcho
from worker.fleet.control.message_processor import MessageProcessor
from worker.fleet.control.plane_clock import PlaneClock
from worker.fleet.control.plane_metrics import SURVEY_INTERVAL_S, Survey
from worker.fleet.control.policy import Policy
from worker.fleet.control.publication import Publication
from worker.fleet.control.republication import MAX_UNSENT, PAGE_INTERVAL_S
from worker.fleet.control.retained_check import RetainedCheck
from worker.fleet.control.store import deployments
from worker.fleet.control.store.deployments import LiveTrigger
from worker.fleet.control.store.store import StoreUnavailable
from worker.fleet.control.triggers.dead_letters import DeadLetter
from worker.fleet.control.triggers.firing import Firing
from worker.fleet.control.triggers.order_result import Fired, OrderResult
from worker.fleet.control.triggers.results import (
    DueReply,
    due_replies,
    expects_replies,
    results_of,
)
from worker.fleet.control.unit_of_work import Outgoing
from worker.fleet.control.workflow_registry import WorkflowRegistry
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import (
    Arrival,
    BrokerRefusal,
    Bus,
    Change,
    Congestion,
    Connected,
    Disconnected,
    Message,
    MessagesRefused,
    QuotaExceeded,
)
from worker.fleet.messaging.instance_id import incarnation
from worker.fleet.messaging.state_messages import Alert
from worker.fleet.messaging.topics import Topics
from worker.fleet.messaging.worker_protocol import PROTOCOL, Presence
from worker.sinks.log import LeveledLogger
from worker.util.liveness import Liveness
from worker.util.machine_clock import monotonic_s, random_between, random_hex
from worker.version import VERSION

TICK_S = 0.25
MIN_STORE_PAUSE_S, MAX_STORE_PAUSE_S = 0.1, 5.0
MAX_KEEPALIVE_S = 5
REFUSAL_S = 30.0
"""How long a control plane is unhealthy after the broker has refused a message."""
SLOW_STORE_S = 5.0
"""A transaction that takes this long makes the control plane unhealthy."""
T = TypeVar("T")
# The key of the lock of the control plane that receives the messages of topic triggers.
_TOPIC_LOCK = 7_205_759_405


def control_will(topics: Topics, id: str) -> Message:
    """Build the message that the broker publishes when a control plane's connection breaks."""
    return _presence(topics, id, online=False)


def _presence(topics: Topics, id: str, *, online: bool) -> Message:
    presence = Presence(incarnation=id, online=online, version=VERSION, protocol=PROTOCOL)
    return Message(topic=topics.control, payload=wire.encode(presence), retain=True)


def store_pause_s(failures: int) -> float:
    """Return how long to wait after so many failures of the database."""
    # Random, so that several control planes do not return to a database at the same moment.
    pause_s = min(MAX_STORE_PAUSE_S, MIN_STORE_PAUSE_S * 2.0 ** min(failures, 10))
    return pause_s * random_between(0.5, 1.0)


def plane_keepalive_s(lease_s: float) -> int:
    """Return the keepalive of a control plane's connection, in seconds."""
    # A connection over which nothing arrives any more is noticed within twice this time. The last
    # heartbeat before may be a quarter of a lease old.
    return max(1, min(MAX_KEEPALIVE_S, int(0.3 * lease_s)))


class ControlPlane:
    """A service that runs a processor on a bus.

    ``encode`` transforms each message before it is published (CloudEvents). ``surveys``: count the
    queue and the workers now and then, for metrics.
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
        surveys: bool = False,
    ) -> None:
        self._bus = bus
        self._processor = processor
        self._topics = topics
        self._log = log
        self._id = id or incarnation()
        self._encode = encode
        self._surveys = surveys
        self._echo = BrokerEcho(topics.echo(self._id), lambda: random_hex(16))
        self._alerts = AlertDispatcher(notifier, self._publish_alert, self._record_delivery, log)
        self.publication = Publication(
            bus, alerts=self._alerts, echo=self._echo, log=log, encode=encode
        )
        self.triggers_changed = self.publication.triggers_changed
        self.order_ended = self.publication.order_ended
        self._clock = PlaneClock(processor.store_time_us)
        self._retained = RetainedCheck()
        self._next_tick = self._next_page = self._next_survey = 0.0
        self._postponed: list[Message] = []
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="processor")
        self.connected = asyncio.Event()
        self.store_outage = ""
        """Why the database cannot be used; empty while it can."""
        self._calls_began: list[float] = []
        self._services: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self.handled = 0
        self.broker_refusals = 0
        """The number of messages that the broker has refused."""
        self._broker_refusal, self._broker_refused_at = "", -math.inf
        self._liveness = Liveness()

    @property
    def waiting_messages(self) -> tuple[int, int]:
        """The numbers of messages that were received or published, and wait here."""
        return self._bus.waiting

    @property
    def dropped_messages(self) -> tuple[int, int]:
        """The numbers of received and of published messages that were dropped."""
        return self._bus.dropped

    @property
    def oldest_message_s(self) -> float:
        """The seconds that the oldest received message has waited for."""
        return self._bus.oldest_s

    @property
    def stalled(self) -> str:
        """Why the process has to be started again; empty while it works."""
        return self._liveness.stalled

    @property
    def problem(self) -> str:
        """Why the control plane cannot work at present; empty while it can."""
        if self.store_outage:
            return self.store_outage
        began = min(self._calls_began, default=None)
        if began is not None and (waited_s := monotonic_s() - began) > SLOW_STORE_S:
            return f"the database has not answered for {waited_s:.0f} s"
        if problem := self._echo.problem(monotonic_s()):
            return problem
        return self.broker_refusal if self.connected.is_set() else "not connected to the broker"

    @property
    def broker_refusal(self) -> str:
        """Why the broker refuses messages at present; empty while it takes them."""
        is_over = monotonic_s() > self._broker_refused_at + REFUSAL_S
        return "" if is_over else self._broker_refusal

    def reload(self, policy: Policy, registry: WorkflowRegistry) -> Future[None]:
        """Use another policy and other workflows, from the next batch on.

        The result is an error where those before are kept.
        """
        # On the thread of the processor, so that no batch sees a part of the change.
        return self._thread.submit(self._processor.reload, policy, registry)

    def add_service(self, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Add a service that runs as long as the control plane does."""
        self._services.append(run)

    # --- for services of triggers -----------------------------------------------------------------

    async def fire(self, items: Sequence[Firing | DeadLetter]) -> list[Fired]:
        """Make the orders of messages and calls; return after the commit."""
        if not items:
            return []
        results, outgoing = await self._on_thread(
            lambda: self._processor.fire(items, self._clock.now_us())
        )
        self.publication.add(outgoing)
        return results

    async def live_triggers(self, *kinds: str) -> list[LiveTrigger]:
        """List the live triggers of some kinds."""
        return await self._read(lambda connection: deployments.live_triggers(connection, kinds))

    async def past_topics(self) -> set[str]:
        """List topics of triggers that are not live any more."""
        return await self._read(deployments.past_topics)

    async def results_of(self, order_ids: Sequence[str]) -> dict[str, OrderResult]:
        """Read the results of those orders that have ended."""
        return await self._read(lambda connection: results_of(connection, order_ids))

    async def due_replies(self) -> list[DueReply]:
        """List replies to send."""
        return await self._read(due_replies)

    async def expects_replies(self) -> bool:
        """Return True while a trigger or an order has a reply to send after the end of a run."""
        return await self._read(expects_replies)

    async def mark_replied(self, order_ids: Sequence[str]) -> None:
        await self._on_thread(lambda: self._processor.mark_replied(order_ids))

    async def holds_topic_lock(self) -> bool:
        """Return True on the one control plane of a store that receives messages of topics."""
        return await self._on_thread(lambda: self._processor.holds_lock(_TOPIC_LOCK))

    async def confirm(self, message: Message) -> None:
        """Publish a message, and wait until the broker has it."""
        try:
            await self._bus.confirm(message)
        # What the access list denies to one trigger is no problem of the others.
        except QuotaExceeded as refusal:
            self._note_refusal(str(refusal))
            raise

    async def _read(self, query: Callable[[Connection], T]) -> T:
        return await self._on_thread(lambda: self._processor.read(query))

    # --- messages ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until cancelled; a batch that has begun is finished first."""
        self._bus.subscribe(self._echo.topic)
        try:
            async with self._bus:
                tasks = [asyncio.create_task(self._serve())]
                tasks += [asyncio.create_task(self.publication.run())]
                tasks += [asyncio.create_task(service()) for service in self._services]
                try:
                    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
                finally:
                    # The services first: their last orders are still published.
                    for task in reversed(tasks):
                        task.cancel()
                        await asyncio.gather(task, return_exceptions=True)
                    await self._alerts.close()
        finally:
            self._thread.shutdown(wait=True)

    async def _serve(self) -> None:
        try:
            while True:
                self._liveness.mark()
                arrivals = await self._bus.receive(max(0.0, self._next_turn - monotonic_s()))
                await self._handle_arrivals(arrivals)
                await self._do_what_is_due()
        finally:
            self.publication.release_states()
            self._bus.publish(_presence(self._topics, self._id, online=False))

    @property
    def _next_turn(self) -> float:
        if self._postponed:
            return 0.0
        return min(self._next_tick, self._next_page) if self._has_page else self._next_tick

    async def _do_what_is_due(self) -> None:
        if monotonic_s() >= self._next_tick:
            self.publication.release_states()
            self.publication.publish(await self._on_thread(self._tick))
            await self._check_retained()
            await self._deliver_left_over()
            self._next_tick = monotonic_s() + TICK_S
        if self._has_page and monotonic_s() >= self._next_page:
            self.publication.publish(await self._on_thread(self._next_states))
            self._next_page = monotonic_s() + PAGE_INTERVAL_S
        if self._surveys and monotonic_s() >= self._next_survey:
            self.publication.measured.survey = await self._on_thread(self._survey)
            self._next_survey = monotonic_s() + SURVEY_INTERVAL_S

    async def _check_retained(self) -> None:
        """Publish all states again where the broker has forgotten some."""
        if self.connected.is_set() and (cause := self._retained.take_cause(monotonic_s())):
            self._log.warning(cause)
            await self._on_thread(self._processor.publish_all_again)

    @property
    def _has_page(self) -> bool:
        """Whether there are states to publish again, and room for them."""
        has_room = self._bus.waiting[1] <= MAX_UNSENT
        return self.connected.is_set() and has_room and self._processor.has_unpublished

    def _next_states(self) -> Outgoing:
        return self._processor.next_states(self._clock.now_us())

    async def _deliver_left_over(self) -> None:
        """Deliver alerts that had no room in memory."""
        for channel in self._alerts.take_left_over():
            collect = functools.partial(self._processor.open_alerts, channel, self._clock.now_us())
            self.publication.publish(await self._on_thread(collect))

    def _survey(self) -> Survey:
        return self._processor.survey(self._clock.now_us())

    def _tick(self) -> Outgoing:
        return self._processor.tick(self._clock.synchronise(), self._echo.echoed_us)

    async def _handle_arrivals(self, arrivals: Sequence[Arrival]) -> None:
        batch: list[Message] = []
        for arrival in arrivals:
            if not isinstance(arrival, Message):
                # Messages are processed before a change of the connection that came after them.
                await self._process(batch)
                batch = []
                await self._on_change(arrival)
            elif not self._receive_own(arrival):
                batch.append(arrival)
        await self._process(batch)

    def _receive_own(self, message: Message) -> bool:
        """Receive a message for the service itself; return False for one to process."""
        if message.topic == self._topics.control:
            self._on_presence(message)
            return True
        if message.topic != self._echo.topic:
            return False
        # It counts for the next tick, before which the messages before it are processed. They stay
        # one batch: anybody may publish on its topic.
        if self._echo.receive(message.payload):
            # The leases that waited for it need not wait for the next tick too.
            self._next_tick = 0.0
        return True

    def _on_presence(self, message: Message) -> None:
        if message.retain:
            self._retained.presence_retained()
        try:
            presence = wire.decode(Presence, message.payload)
        except wire.WireError:
            return
        is_other = presence.incarnation != self._id
        # Each claim needs one transaction, and not one of each control plane: all know by the last
        # presence whose. The others have the claim too, for the runs that they make, and for their
        # next tick where that one hangs.
        self._processor.defers_claims = is_other and presence.online
        if is_other and not presence.online and not message.retain:
            # All share the one presence: workers would wait for a control plane that is there.
            self._bus.publish(_presence(self._topics, self._id, online=True))

    async def _on_change(self, change: Change) -> None:
        match change:
            case Connected():
                await self._on_connected()
            case Disconnected(reason):
                self.connected.clear()
                self._echo.on_disconnected()
                self._processor.on_disconnected()
                self._log.warning("broker.disconnected", error=reason)
            case MessagesRefused(reason, number):
                self._note_refusal(reason, number)
            case Congestion(dropped=0):
                self._log.warning("broker.congested")
            case Congestion(dropped=dropped):
                self._log.warning("broker.relieved", dropped=dropped)
                # Workers and clients retransmit what has no answer. States have none.
                self._retained.lost()

    def _note_refusal(self, reason: str, number: int = 1) -> None:
        if not self.broker_refusal:
            self._log.warning("broker.refused", error=reason)
        self.broker_refusals += number
        self._broker_refusal = reason
        self._broker_refused_at = monotonic_s()

    async def _on_connected(self) -> None:
        clock = self._clock
        self._retained.connected(monotonic_s())
        self._processor.limit_messages(self._bus.max_message_bytes)
        self.publication.publish(
            await self._on_thread(lambda: self._processor.on_connected(clock.synchronise()))
        )
        self._bus.publish(_presence(self._topics, self._id, online=True))
        self.connected.set()
        self._log.info("broker.connected", incarnation=self._id)

    async def _process(self, arrived: Sequence[Message]) -> None:
        messages, self._postponed = [*self._postponed, *arrived], []
        if messages:
            self.handled += len(arrived)
            began = monotonic_s()
            results = await self._on_thread(
                lambda: self._processor.process(messages, self._clock.now_us())
            )
            self.publication.measured.add_batch(len(messages), monotonic_s() - began)
            self._postponed = results.postponed
            self.publication.publish(results)

    async def _on_thread(self, call: Callable[[], T]) -> T:
        """Make a call that uses the database, and repeat it until the database is available."""
        failures = 0
        while True:
            began = self._liveness.mark()
            self._calls_began.append(began)
            try:
                result = await asyncio.get_running_loop().run_in_executor(self._thread, call)
            except StoreUnavailable as error:
                failures += 1
                # Once: a database that is away for an hour would else fill the log.
                if not self.store_outage:
                    self._log.critical("store.unavailable", error=str(error)[:500])
                self.store_outage = str(error)
                await asyncio.sleep(store_pause_s(failures))
                continue
            finally:
                self._calls_began.remove(began)
            if failures:
                self.store_outage = ""
                self._log.warning("store.available", failures=failures)
            return result

    async def _publish_alert(self, alert: Alert) -> None:
        message = Message(topic=self._topics.alerts, payload=wire.encode(alert))
        try:
            await self._bus.confirm(self._encode(message))
        except BrokerRefusal as refusal:
            self._note_refusal(str(refusal))
            raise

    async def _record_delivery(self, run_id: str, channels: frozenset[str], complete: bool) -> None:
        def record() -> None:
            if complete:
                self._processor.mark_notified([run_id], self._clock.now_us())
            else:
                self._processor.mark_delivered(run_id, channels)

        await self._on_thread(record)
