"""The question whether a tick has anything to do, which one statement answers.

An idle control plane has a tick four times a second. Each part of a tick by itself, in a
transaction, would be ten statements.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, bindparam, exists, or_, select

from worker.fleet.control.due_runs import IS_DUE, IS_LATE
from worker.fleet.control.store import tables
from worker.fleet.control.store.deployments import HAS_DUE_TICK
from worker.fleet.control.store.prepared import Prepared
from worker.fleet.control.store.statements import LEASED_RUNS

_RUNS, _TRIGGERS, _TICKS = tables.RUNS.c, tables.TRIGGERS.c, tables.TRIGGER_TICKS.c


def _any(column: ColumnElement[str], *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists(select(column).where(*conditions))


_DUE_BY_TIME = (
    _any(_RUNS.id, LEASED_RUNS, _RUNS.expires <= bindparam("now")),
    _any(_RUNS.id, *IS_LATE),
    _any(_RUNS.id, *IS_DUE),
    _any(_TRIGGERS.id, *HAS_DUE_TICK),
    _any(_TICKS.trigger_id, _TICKS.outcome == "queued"),
)
_IS_ANY_DUE = Prepared(select(or_(*_DUE_BY_TIME)))
_IS_ANY_DUE_OR_WAITING = Prepared(select(or_(_any(tables.QUEUES.c.project), *_DUE_BY_TIME)))


def is_any_due(connection: Connection, now_us: int, *, has_claims: bool) -> bool:
    """Look for leases, deadlines, delays and triggers that are due, and claimed runs that wait."""
    # While all workers are busy, waiting runs are the rule.
    due = _IS_ANY_DUE_OR_WAITING if has_claims else _IS_ANY_DUE
    return bool(due.value(connection, {"now": now_us}))
