"""A batch of messages on its way through the plane: what it changes, and what is said of it.

Everything that is said is collected, and sent after the transaction is committed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from worker.core.status import Status
from worker.fleet.control import views
from worker.fleet.control.entities import RunRecord, WorkOrder
from worker.fleet.control.store.transaction import Transaction
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.topics import Topics

ALARMING = (Status.EXCEPTION, Status.LOST)
STATE_EXPIRY_S = 7 * 86_400
"""How long the broker keeps the state of a run for those who ask it and not the control plane."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a control plane works. Seconds, and bytes.

    ``lease_s``: a worker that is not heard of for so long has lost its runs. ``grace_s``: how long
    a worker has to come back after the broker told that its connection broke. ``keep_s``: how long
    ended orders are kept, 0 for ever. ``payload_limit``: the largest message that is read.
    """

    lease_s: float = 10.0
    grace_s: float = 2.0
    keep_s: float = 0.0
    payload_limit: int = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingClaim:
    """A claim that waits for runs."""

    claim_id: str
    demand: int
    incarnation: str


@dataclass(slots=True)
class Outgoing:
    """What comes of a batch, once it is committed."""

    messages: list[Message] = field(default_factory=list)
    alerts: list[wire.Alert] = field(default_factory=list)
    refusals: list[MessageRefused] = field(default_factory=list)
    ended: Counter[Status] = field(default_factory=Counter)


class MessageRefused(Exception):
    """A message that is refused, and changes nothing.

    ``kind``: malformed, oversized, forged, unknown, reply_topic, stale.
    """

    def __init__(self, kind: str, message: str, topic: str = "") -> None:
        super().__init__(message)
        self.kind, self.message, self.topic = kind, message, topic


class UnitOfWork:
    """The transaction, the time, and what is to be said."""

    def __init__(
        self,
        work: Transaction,
        now: int,
        topics: Topics,
        settings: Settings,
        standing: dict[str, PendingClaim],
    ) -> None:
        self.work = work
        self.now = now
        self.topics = topics
        self.settings = settings
        self.standing = standing
        self.said = Outgoing()
        self.topic = ""
        self._moments = 0

    @property
    def lease_ends(self) -> int:
        return self.now + int(self.settings.lease_s * 1e6)

    def moment(self) -> int:
        """Now, but never the same twice: what comes in one batch comes in an order, too."""
        self._moments += 1
        return self.now + self._moments

    def say(
        self, topic: str, shape: wire.Payload, *, retain: bool = False, expiry_s: int = 0
    ) -> None:
        self.said.messages.append(
            Message(topic=topic, payload=wire.encode(shape), retain=retain, expiry_s=expiry_s)
        )

    def refuse(self, refusal: MessageRefused) -> None:
        """Note a refusal of what came on the topic that is being handled."""
        refusal.topic = self.topic
        self.said.refusals.append(refusal)

    # --- changes ----------------------------------------------------------------------------------

    def change(self, run: RunRecord) -> None:
        """Keep a run's new values, and say so where its status changed."""
        before = self.work.known_run(run.id)
        self.work.put_run(run)
        if before is not None and before.status is run.status:
            return
        self.announce(run)
        order = self.work.order(run.order_id)
        if order is not None and order.last_run == run.id:
            self.work.put_order(replace(order, status=run.status))
        if run.final:
            self._ended(run)

    def announce(self, run: RunRecord) -> None:
        expiry = STATE_EXPIRY_S if run.final else 0
        self.say(
            self.topics.run(run.id, "state"), views.run_state(run), retain=True, expiry_s=expiry
        )

    def announce_order(self, order: WorkOrder) -> None:
        self.say(
            self.topics.order(order.id),
            views.order_state(order),
            retain=True,
            expiry_s=STATE_EXPIRY_S,
        )

    def _ended(self, run: RunRecord) -> None:
        self.said.ended[run.status] += 1
        if run.status in ALARMING:
            self.work.add("alerts", {"run_id": run.id, "at": self.now, "notified": None})
            self.alarm(run)

    def alarm(self, run: RunRecord) -> None:
        """Have the superuser told."""
        self.said.alerts.append(views.alert(run))
