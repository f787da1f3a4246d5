"""Lines of recordings in the store: dataclips of a run whose ids have the number of an event."""

from __future__ import annotations

from sqlalchemy import Connection, select

from worker.fleet.control.entities import RunRecord
from worker.fleet.control.store import tables

_DIGITS = 16


def recorded_id(attempt: int, seq: int) -> str:
    """Return the id of the lines that came with an event; ids sort as the events do."""
    return f"{_prefix(attempt)}{seq:0{_DIGITS}}"


def _prefix(attempt: int) -> str:
    return f"recorded-{attempt}-"


def next_recorded(connection: Connection, run: RunRecord, after: int) -> tuple[int, str] | None:
    """Return the first lines after an event, with the number of theirs; ``None`` at the end."""
    clips, prefix = tables.DATACLIPS.c, _prefix(run.attempt)
    later = (
        select(clips.id, clips.text)
        .where(
            clips.owner == run.id,
            clips.id.startswith(prefix, autoescape=True),
            clips.id >= recorded_id(run.attempt, after + 1),
        )
        .order_by(clips.id)
        .limit(1)
    )
    row = connection.execute(later).one_or_none()
    return None if row is None else (int(row.id.removeprefix(prefix)), row.text)
