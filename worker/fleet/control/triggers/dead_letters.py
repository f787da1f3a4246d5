"""Dead letters: messages that no order was made of, with the reason, for people to look at."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select, update

from worker.fleet.control.store import tables
from worker.fleet.control.store.deployments import LiveTrigger
from worker.fleet.control.store.transaction import Transaction
from worker.fleet.control.unit_of_work import UnitOfWork
from worker.fleet.messaging.trigger_messages import DeadLetterQuery

# Enough to recognise a message; a flood of large ones must not fill the database.
MAX_CONTENT_BYTES = 16 * 1024
# For each project: a flood in one must not delete those of another.
MAX_DEAD_LETTERS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message of which no order can be made.

    ``reason``: not_json, not_text, too_large, too_deep, no_key, filter_failed, defect, or the code
    of the failure of an order. ``packet`` is the number of the message's packet, 0 without one;
    ``repeated``: the broker has sent the message before.
    """

    trigger: LiveTrigger
    reason: str
    message: str
    topic: str
    payload: bytes
    packet: int = 0
    repeated: bool = False


def store_dead_letter(uow: UnitOfWork, letter: DeadLetter, token: str) -> None:
    """Store a dead letter, once also where the broker repeats its message."""
    trigger = letter.trigger
    id = _id_of(letter) if letter.packet else token
    if letter.packet and not letter.repeated:
        # A broker uses numbers of packets again: the letter of an equal message before, which was
        # acknowledged, stays under another id.
        older = update(tables.DEAD_LETTERS).where(tables.DEAD_LETTERS.c.id == id)
        uow.transaction.connection.execute(older.values(id=token))
    uow.transaction.add(
        "dead_letters",
        {
            "id": id,
            "trigger_id": trigger.id,
            "project": trigger.project,
            "workflow": trigger.workflow,
            "at": uow.next_timestamp(),
            "reason": letter.reason,
            "message": letter.message[:1000].replace("\0", "\ufffd"),
            "topic": letter.topic[:1000],
            "size_bytes": len(letter.payload),
            "content": base64.b64encode(letter.payload[:MAX_CONTENT_BYTES]).decode(),
        },
    )
    uow.outgoing.triggered["dead_letter"] += 1


def _id_of(letter: DeadLetter) -> str:
    """Derive an id that a message has again where another control plane receives it again."""
    # A control plane that is killed after the commit has acknowledged nothing.
    where = f"{letter.trigger.id}\0{letter.packet}\0{letter.topic}\0"
    return hashlib.sha256(where.encode() + letter.payload).hexdigest()[:32]


def list_dead_letters(uow: UnitOfWork, query: DeadLetterQuery) -> Any:
    """List dead letters, newest first; their content is base64."""
    letters = tables.DEAD_LETTERS.c
    matching = select(tables.DEAD_LETTERS).order_by(letters.at.desc()).limit(query.limit)
    if query.project is not None:
        matching = matching.where(letters.project == query.project)
    if query.before is not None:
        matching = matching.where(letters.at < query.before)
    return [dict(row) for row in uow.transaction.connection.execute(matching).mappings()]


def delete_old_dead_letters(transaction: Transaction) -> None:
    """Delete the oldest dead letters of each project beyond a number."""
    letters, connection = tables.DEAD_LETTERS.c, transaction.connection
    for project in connection.execute(select(letters.project).distinct()).scalars().all():
        own = letters.project == project
        newest = select(letters.at).where(own).order_by(letters.at.desc())
        last = connection.execute(newest.offset(MAX_DEAD_LETTERS).limit(1)).scalar()
        if last is not None:
            connection.execute(delete(tables.DEAD_LETTERS).where(own, letters.at <= last))
