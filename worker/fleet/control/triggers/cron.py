"""Firing of cron triggers: in the transaction of a tick of the control plane, once per tick.

The row of a trigger holds the next tick, and is locked while it fires; the row of each tick is
unique. So several control planes, restarts and repeated transactions fire a tick once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import delete, exists, or_, select, update

from worker.core.status import STATUSES, Status
from worker.fleet.control.store import deployments as rows
from worker.fleet.control.store import tables
from worker.fleet.control.store.deployments import LiveTrigger
from worker.fleet.control.store.prepared import Prepared
from worker.fleet.control.triggers.cron_schedule import due_ticks
from worker.fleet.control.triggers.dead_letters import DeadLetter, store_dead_letter
from worker.fleet.control.triggers.firing import Firing, OrderMaker, fire
from worker.fleet.control.unit_of_work import UnitOfWork
from worker.fleet.messaging.trigger_messages import CronTrigger

MAX_TRIGGERS = 500
MAX_QUEUED = 100
"""Ticks of one trigger that wait for the order before them."""
KEEP_TICKS_US = 30 * 86_400 * 1_000_000
_TICKS, _FIRINGS, _ORDERS, _RUNS = (
    tables.TRIGGER_TICKS,
    tables.TRIGGER_FIRINGS,
    tables.ORDERS,
    tables.RUNS,
)
_UNFINISHED = [status.value for status in Status if not STATUSES[status].final]
_TRIGGERS = tables.TRIGGERS
# Those that have to wait longer must not take the places of others.
_GOES_ON = ~rows.is_paused(_TRIGGERS.c) & ~exists().where(
    _FIRINGS.c.trigger_id == _TRIGGERS.c.id,
    _FIRINGS.c.order_id == _ORDERS.c.id,
    or_(*(_ORDERS.c.status == status for status in _UNFINISHED)),
)
_WAITING = Prepared(
    select(_TICKS.c.trigger_id)
    .join(_TRIGGERS, _TRIGGERS.c.id == _TICKS.c.trigger_id)
    .where(_TICKS.c.outcome == "queued", ~_TRIGGERS.c.live | _GOES_ON)
    .group_by(_TICKS.c.trigger_id)
    .limit(MAX_TRIGGERS)
)
Cancel = Callable[[UnitOfWork, str], None]


@dataclass(slots=True)
class CronFiring:
    """The triggers that fire in a transaction, which is repeated where one triggers a defect.

    ``trigger_id`` is the one that is firing; ``defects`` are those whose ticks have failed, each
    with its error.
    """

    trigger_id: str = ""
    defects: dict[str, str] = field(default_factory=dict)

    def exclude(self, error: Exception) -> bool:
        """Record the failure of the trigger that is firing. Return False where none is new."""
        trigger_id, self.trigger_id = self.trigger_id, ""
        if not trigger_id or trigger_id in self.defects:
            return False
        self.defects[trigger_id] = f"{type(error).__name__}: {error}"[:500]
        return True


def fire_due(
    uow: UnitOfWork,
    orders: OrderMaker,
    cancel: Cancel,
    token: Callable[[], str],
    firing: CronFiring,
) -> None:
    """Fire the ticks that are due. ``cancel`` ends the last run of an order."""
    connection = uow.transaction.connection
    _fire_queued(uow, orders, token, firing)
    if not (triggers := rows.due_cron_triggers(connection, uow.now_us, MAX_TRIGGERS)):
        return
    # Before the first one fires: what else this transaction writes is not its defect.
    uow.transaction.flush()
    # The tick of one that is paused stays due: what happens to it after the pause is for catch_up.
    for trigger in triggers:
        definition = trigger.definition
        assert isinstance(definition, CronTrigger)
        firing.trigger_id = trigger.id
        due = due_ticks(definition, trigger.next_tick or 0, uow.now_us)
        for tick in due.fire:
            if not _reserve(uow, trigger.id, tick):
                continue
            if error := firing.defects.get(trigger.id):
                _fail(uow, trigger, tick, error, token)
            else:
                _fire_tick(uow, orders, trigger, tick, cancel, token)
        if due.missed:
            uow.outgoing.triggered["missed"] += 1
        rows.set_next_tick(connection, trigger.id, due.next_us)
    firing.trigger_id = ""


def delete_old_ticks(uow: UnitOfWork) -> None:
    old = _TICKS.c.tick < uow.now_us - KEEP_TICKS_US
    uow.transaction.connection.execute(delete(_TICKS).where(old, _TICKS.c.outcome != "queued"))


def _reserve(uow: UnitOfWork, trigger_id: str, tick: int) -> bool:
    """Insert the row of a tick. Return False where there is one: the tick was fired before."""
    row = {"trigger_id": trigger_id, "tick": tick, "outcome": "reserved", "order_id": None}
    return uow.transaction.insert_if_missing("trigger_ticks", row)


def _fire_tick(
    uow: UnitOfWork,
    orders: OrderMaker,
    trigger: LiveTrigger,
    tick: int,
    cancel: Cancel,
    token: Callable[[], str],
) -> None:
    overlap = trigger.definition.overlap if isinstance(trigger.definition, CronTrigger) else ""
    unfinished = [] if overlap == "allow" else _unfinished(uow, trigger.id)
    if unfinished and overlap == "skip":
        uow.outgoing.triggered["skipped"] += 1
        return _record(uow, trigger.id, tick, "skipped")
    if overlap == "queue" and (unfinished or _queued(uow, trigger.id)):
        full = len(_queued(uow, trigger.id)) >= MAX_QUEUED
        return _record(uow, trigger.id, tick, "skipped" if full else "queued")
    for order_id in unfinished:
        cancel(uow, order_id)
    _make_order(uow, orders, trigger, tick, token)


def _make_order(
    uow: UnitOfWork,
    orders: OrderMaker,
    trigger: LiveTrigger,
    tick: int,
    token: Callable[[], str],
) -> None:
    firing = Firing(trigger=trigger, input=_cursor(uow, trigger), topic="cron")
    (result,) = fire(uow, orders, [firing], token)
    # The next tick of this transaction has to see the order.
    uow.transaction.flush()
    outcome = "fired" if result.order_id else "failed"
    uow.outgoing.tick_delays_s.append((uow.now_us - tick) / 1e6)
    _record(uow, trigger.id, tick, outcome, result.order_id or None)


def _fail(
    uow: UnitOfWork, trigger: LiveTrigger, tick: int, error: str, token: Callable[[], str]
) -> None:
    letter = DeadLetter(trigger=trigger, reason="defect", message=error, topic="cron", payload=b"")
    store_dead_letter(uow, letter, token())
    _record(uow, trigger.id, tick, "failed")


def _fire_queued(
    uow: UnitOfWork, orders: OrderMaker, token: Callable[[], str], firing: CronFiring
) -> None:
    """Fire the oldest waiting tick of each trigger whose order before it has ended."""
    waiting = set(_WAITING.column(uow.transaction.connection))
    if not waiting:
        return
    uow.transaction.flush()
    for trigger in rows.locked_triggers(uow.transaction.connection, waiting):
        firing.trigger_id = trigger.id
        ticks = _queued(uow, trigger.id)
        if not trigger.live:
            for tick in ticks:
                _record(uow, trigger.id, tick, "skipped")
        elif ticks and (error := firing.defects.get(trigger.id)):
            _fail(uow, trigger, ticks[0], error, token)
        elif ticks and not _unfinished(uow, trigger.id):
            _make_order(uow, orders, trigger, ticks[0], token)
    firing.trigger_id = ""


def _queued(uow: UnitOfWork, trigger_id: str) -> Sequence[int]:
    columns = _TICKS.c
    of_trigger = (
        select(columns.tick)
        .where(columns.trigger_id == trigger_id, columns.outcome == "queued")
        .order_by(columns.tick)
    )
    return uow.transaction.connection.execute(of_trigger).scalars().all()


def _record(
    uow: UnitOfWork, trigger_id: str, tick: int, outcome: str, order_id: str | None = None
) -> None:
    columns = _TICKS.c
    row = update(_TICKS).where(columns.trigger_id == trigger_id, columns.tick == tick)
    uow.transaction.connection.execute(row.values(outcome=outcome, order_id=order_id))


def _unfinished(uow: UnitOfWork, trigger_id: str) -> Sequence[str]:
    """List the orders of a trigger that have not ended."""
    uow.transaction.flush()
    of_trigger = (
        select(_ORDERS.c.id)
        .join(_FIRINGS, _FIRINGS.c.order_id == _ORDERS.c.id)
        .where(_FIRINGS.c.trigger_id == trigger_id, _ORDERS.c.status.in_(_UNFINISHED))
        .order_by(_FIRINGS.c.at)
    )
    return uow.transaction.connection.execute(of_trigger).scalars().all()


# --- the cursor -----------------------------------------------------------------------------------


def _cursor(uow: UnitOfWork, trigger: LiveTrigger) -> bytes:
    """Read the input of the next run: what the last successful one has left, or ``{}``."""
    uow.transaction.flush()
    definition = trigger.definition
    job = definition.cursor_job if isinstance(definition, CronTrigger) else ""
    text = _last_output(uow, trigger, job) if job else _last_final_state(uow, trigger)
    # A final state that is no object, as of a run that returned nothing, is no input.
    return text.encode() if text is not None and text.lstrip().startswith("{") else b"{}"


def _successful(trigger: LiveTrigger) -> Any:
    return (
        (_RUNS.c.project == trigger.project)
        & (_RUNS.c.workflow == trigger.workflow)
        & (_RUNS.c.status == Status.SUCCESS.value)
    )


def _last_final_state(uow: UnitOfWork, trigger: LiveTrigger) -> str | None:
    """Read the final state of the last successful run whose state was stored."""
    events, clips = tables.EVENTS.c, tables.DATACLIPS.c
    last = (
        select(clips.text)
        .select_from(_RUNS)
        .join(tables.EVENTS, (events.run_id == _RUNS.c.id) & (events.attempt == _RUNS.c.attempt))
        .join(tables.DATACLIPS, (clips.owner == events.run_id) & (clips.id == events.clip))
        .where(_successful(trigger), events.type == "run:complete")
        .order_by(_RUNS.c.created.desc())
        .limit(1)
    )
    text: str | None = uow.transaction.connection.execute(last).scalar()
    return text


class _Completed(msgspec.Struct, frozen=True):
    job_id: str = ""
    reason: str = ""


def _last_output(uow: UnitOfWork, trigger: LiveTrigger, job: str) -> str | None:
    """Read the last output of a job that succeeded, whatever became of its run."""
    events = tables.EVENTS.c
    # Without the outputs: a thousand of them could be gigabytes.
    steps = (
        select(events.body, events.run_id, events.clip)
        .select_from(_RUNS)
        .join(tables.EVENTS, (events.run_id == _RUNS.c.id) & (events.attempt == _RUNS.c.attempt))
        .where(
            _RUNS.c.project == trigger.project,
            _RUNS.c.workflow == trigger.workflow,
            events.type == "step:complete",
            events.clip.is_not(None),
        )
        .order_by(_RUNS.c.created.desc(), events.seq.desc())
        .limit(1000)
    )
    for row in uow.transaction.connection.execute(steps).all():
        completed = msgspec.json.decode(row.body, type=_Completed)
        if completed.job_id == job and completed.reason == "success":
            return uow.transaction.dataclip(row.run_id, row.clip)
    return None
