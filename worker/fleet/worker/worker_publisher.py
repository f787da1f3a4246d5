"""The messages that a worker publishes: its presence, requests, reports and released leases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from socket import gethostname as host_name

from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import BrokerRefusal, Bus, Message, problem_of
from worker.fleet.messaging.topics import Topics
from worker.fleet.messaging.worker_protocol import (
    MAX_LEASES,
    PROTOCOL,
    Claim,
    Heartbeat,
    Lease,
    Presence,
    Release,
    StartRequest,
)
from worker.sinks.log import LeveledLogger
from worker.util import invariant_checks
from worker.util.invariant_checks import Invariant
from worker.version import VERSION


def worker_will(topics: Topics, name: str, id: str) -> Message:
    """Build the message that the broker publishes when a worker's connection breaks."""
    return _presence(topics, name, Presence(incarnation=id, online=False))


def _presence(topics: Topics, name: str, presence: Presence) -> Message:
    topic = topics.worker(name, "status")
    return Message(topic=topic, payload=wire.encode(presence), retain=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOffer:
    """What a worker offers: its labels, credentials and adaptors; ``None``: not reported."""

    labels: tuple[str, ...] = ()
    credentials: tuple[str, ...] | None = None
    adaptors: tuple[str, ...] | None = None


class WorkerPublisher:
    """The topics of one worker, by its ``name``; ``id`` is the incarnation of its process."""

    def __init__(self, bus: Bus, topics: Topics, log: LeveledLogger, *, name: str, id: str) -> None:
        self._bus = bus
        self._topics = topics
        self._log = log
        self._name = name
        self._id = id
        self.refusal = ""
        """Why the broker refuses the worker's claims; empty while it takes them."""

    @property
    def max_message_bytes(self) -> int:
        """The size of the largest message that the present connection takes."""
        return self._bus.max_message_bytes

    def publish(self, channel: str, payload: wire.Payload, *, bulk: bool = False) -> None:
        topic = self._topics.worker(self._name, channel)
        message = Message(topic=topic, payload=wire.encode(payload), bulk=bulk)
        problem = problem_of(message, self._bus.max_message_bytes)
        invariant_checks.note(Invariant.MESSAGE_SENT, problem)
        self._bus.publish(message)

    async def confirm_claim(self, claim: Claim) -> None:
        """Publish a claim that had no response, and wait until the broker has it.

        The broker may deny it: with QoS 1 it reports that.
        """
        topic = self._topics.worker(self._name, "claim")
        try:
            await self._bus.confirm(Message(topic=topic, payload=wire.encode(claim)))
        except ConnectionError:
            return
        except BrokerRefusal as refusal:
            if not self.refusal:
                self._log.warning("broker.refused", error=str(refusal))
            self.refusal = str(refusal)
        else:
            self.refusal = ""

    def publish_presence(
        self, offer: WorkerOffer, *, online: bool, capacity: int, draining: bool, predecessor: str
    ) -> None:
        presence = Presence(
            incarnation=self._id,
            online=online,
            capacity=capacity,
            draining=draining,
            version=VERSION,
            labels=offer.labels,
            credentials=offer.credentials,
            adaptors=offer.adaptors,
            host=host_name()[:200],
            protocol=PROTOCOL,
            succeeds=predecessor or None,
        )
        self._bus.publish(_presence(self._topics, self._name, presence))

    def request_starts(self, leases: Sequence[Lease]) -> None:
        for part in _in_messages(leases):
            self.publish("start", StartRequest(incarnation=self._id, leases=part))

    def release(self, leases: Sequence[Lease]) -> None:
        """Hand back runs that were not started."""
        for part in _in_messages(leases):
            self.publish("release", Release(incarnation=self._id, leases=part))

    def abort(self, leases: Sequence[Lease], reason: str) -> None:
        """Report runs that were cut short, and why the worker did not wait for their end."""
        for part in _in_messages(leases):
            release = Release(incarnation=self._id, leases=[], aborted=part, reason=reason)
            self.publish("release", release)

    def beat(self, leases: Sequence[Lease]) -> None:
        """Renew leases."""
        # Without leases too: by it the control plane shows the last contact with the worker.
        for part in _in_messages(leases) or [[]]:
            self.publish("beat", Heartbeat(incarnation=self._id, leases=part))


def _in_messages(leases: Sequence[Lease]) -> list[list[Lease]]:
    """Split leases into those of each message."""
    return [list(leases[at : at + MAX_LEASES]) for at in range(0, len(leases), MAX_LEASES)]
