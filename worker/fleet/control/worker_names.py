"""Names of workers: each is granted to one incarnation at a time."""

from __future__ import annotations

from collections.abc import Mapping

from worker.fleet.control.store.transaction import WorkerRow
from worker.fleet.control.unit_of_work import MessageRefused, UnitOfWork
from worker.fleet.messaging.worker_protocol import Command, NameRefusal


def holder(uow: UnitOfWork, known: WorkerRow | None, incarnation: str) -> WorkerRow | None:
    """Find the holder of a name that another incarnation wants; ``None`` if the name is free.

    A name is free again when its holder goes offline, or is silent for the length of a lease.
    """
    if known is None or not known.online or known.incarnation == incarnation:
        return None
    silent_us = uow.now_us - max(known.heard, known.since)
    # A time that lies ahead was written before the clock was set back.
    return known if 0 <= silent_us < uow.lease_us else None


def is_recorded(
    contacts: Mapping[str, tuple[str, int]],
    worker: str,
    incarnation: str,
    now_us: int,
    lease_us: int,
) -> bool:
    """Check that an incarnation holds its name, and that this was recorded not long ago."""
    known_incarnation, written_us = contacts.get(worker, ("", 0))
    # A few times a lease: to write it with each message would cost a statement each.
    return known_incarnation == incarnation and 0 <= now_us - written_us < lease_us // 4


def record_contact(uow: UnitOfWork, worker: str, incarnation: str) -> None:
    """Record that a worker was heard of. Raises :class:`MessageRefused` where its name is taken."""
    if is_recorded(uow.contacts, worker, incarnation, uow.now_us, uow.lease_us):
        return
    known = uow.transaction.worker(worker)
    if (other := holder(uow, known, incarnation)) is not None:
        refuse_name(uow, worker, incarnation, other)
    if known is not None and known.incarnation == incarnation:
        uow.transaction.record_contact(worker, incarnation, uow.now_us)
    uow.contacts[worker] = incarnation, uow.now_us


def refuse_name(uow: UnitOfWork, worker: str, incarnation: str, other: WorkerRow) -> None:
    """Notify an incarnation that another one holds its name, and refuse its message."""
    refusal = NameRefusal(
        incarnation=incarnation, holder=other.incarnation, host=other.host, since=other.since
    )
    uow.publish(uow.topics.worker(worker, "cmd"), Command(refused=refusal))
    raise MessageRefused("taken", f"the name '{worker}' is held by {other.incarnation}")
