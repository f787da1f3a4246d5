"""Publication of the results of transactions: in the order of their commits, and counted."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence

from worker.fleet.control.alerts import MAX_WAITING, AlertDispatcher
from worker.fleet.control.broker_echo import BrokerEcho
from worker.fleet.control.held_states import HeldStates
from worker.fleet.control.plane_metrics import Measurements
from worker.fleet.control.triggers.signals import Signal
from worker.fleet.control.unit_of_work import Outgoing
from worker.fleet.messaging.bus import Bus, Message, problem_of
from worker.sinks.log import LeveledLogger
from worker.util import invariant_checks
from worker.util.invariant_checks import Invariant
from worker.util.machine_clock import monotonic_s


class Publication:
    """Publishes the results of transactions.

    ``encode`` transforms each message before it is published (CloudEvents). States that are not
    final wait for :meth:`release_states` under load.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        alerts: AlertDispatcher,
        echo: BrokerEcho,
        log: LeveledLogger,
        encode: Callable[[Message], Message],
    ) -> None:
        self._bus = bus
        self._alerts = alerts
        self._echo = echo
        self._log = log
        self._encode = encode
        self._states = HeldStates()
        self._waiting: deque[Outgoing] = deque()
        self._added = asyncio.Event()
        self.triggers_changed = Signal()
        self.order_ended = Signal()
        self.refused: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.triggered: Counter[str] = Counter()
        self.measured = Measurements()

    def publish(self, outgoing: Outgoing) -> None:
        """Publish the results of a transaction."""
        self._waiting.append(outgoing)
        self._publish_first(len(self._waiting))

    def add(self, outgoing: Outgoing) -> None:
        """Publish the results of a transaction once its caller has gone on, by :meth:`run`."""
        self._waiting.append(outgoing)
        self._added.set()

    async def run(self) -> None:
        """Publish what is added, until cancelled."""
        try:
            while True:
                await self._added.wait()
                self._added.clear()
                # The callers first: a response to a call need not wait for states to be sent.
                count = len(self._waiting)
                await asyncio.sleep(0)
                self._publish_first(count)
        finally:
            # The last orders of the services, after which this task is cancelled at once.
            self._publish_first(len(self._waiting))

    def release_states(self) -> None:
        """Publish the states that are held."""
        self._send(self._states.release())

    def _publish_first(self, count: int) -> None:
        # In the order of the commits: an older state must not replace a newer one.
        for _ in range(min(count, len(self._waiting))):
            outgoing = self._waiting.popleft()
            self._send_all(outgoing)
            self._log_problems(outgoing)
            self._count(outgoing)
            self._pass_on(outgoing)

    def _send_all(self, outgoing: Outgoing) -> None:
        self._send(self._states.hold(outgoing.messages))
        if outgoing.echo_us:
            # The echo proves that all is out that was committed before.
            self.release_states()
            self._bus.publish(
                self._echo.request(outgoing.echo_us, monotonic_s(), is_urgent=outgoing.awaits_echo)
            )

    def _send(self, messages: Sequence[Message]) -> None:
        for message in messages:
            problem = problem_of(message, self._bus.max_message_bytes)
            invariant_checks.note(Invariant.MESSAGE_SENT, problem)
            self._bus.publish(self._encode(message))

    def _log_problems(self, outgoing: Outgoing) -> None:
        for invariant, problem in invariant_checks.take_news():
            self._log.critical("invariant.broken", invariant=invariant, error=problem[:500])
        for refusal in outgoing.refusals:
            self._log.warning(
                "message.refused", kind=refusal.kind, topic=refusal.topic, error=refusal.message
            )
        for name, error in outgoing.defects.items():
            self._log.critical("defect.left_out", part=name, error=error)
        for run in outgoing.expired:
            self._log.warning(
                "lease.expired", run_id=run.id, attempt=run.attempt, worker=run.worker
            )

    def _count(self, outgoing: Outgoing) -> None:
        self.refused.update(refusal.kind for refusal in outgoing.refusals)
        self.refused["defect"] += len(outgoing.defects)
        self.triggered.update(outgoing.triggered)
        self.ended.update({status.value: count for status, count in outgoing.ended.items()})
        self.measured.add(outgoing)

    def _pass_on(self, outgoing: Outgoing) -> None:
        """Notify the services, and those who are to know of alerts."""
        if outgoing.deployed:
            self.triggers_changed.send()
        if outgoing.ended:
            self.order_ended.send()
        for alert in outgoing.alerts:
            self._alerts.add(alert, outgoing.delivered.get(alert.run_id, frozenset()))
        if len(outgoing.delivered) > MAX_WAITING:
            self._alerts.expect_left_over()
