"""Rows of deployed workflows: their versions, their deployments and their triggers."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, bindparam, exists, select, update
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from worker.fleet.control.store import tables
from worker.fleet.control.store.prepared import IsIn, Prepared
from worker.fleet.messaging.trigger_messages import Trigger, WebhookTrigger

_VERSIONS, _DEPLOYMENTS, _TRIGGERS = (
    tables.WORKFLOW_VERSIONS,
    tables.DEPLOYMENTS,
    tables.TRIGGERS,
)
_decode_trigger = msgspec.json.Decoder[Trigger](Trigger).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRow:
    """A version of a workflow. ``plan`` is sealed; ``triggers`` and ``credentials`` are JSON."""

    project: str
    name: str
    version: str
    plan_id: str
    plan: str
    credentials: str
    triggers: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentRow:
    """A deployment: ``client`` made ``version`` the present one."""

    project: str
    name: str
    number: int
    version: str
    action: str
    client: str
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTrigger:
    """A trigger of the present version of a workflow, as its row has it."""

    id: str
    project: str
    workflow: str
    live: bool
    definition: Trigger
    next_tick: int | None = None
    last_fired: int | None = None
    fired: int = 0


def trigger_id(project: str, workflow: str, name: str) -> str:
    """Derive the id of a trigger, which all versions of its workflow share."""
    # So ticks and keys of messages stay done when a new version is deployed.
    text = "\0".join((project, workflow, name))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def address_of(trigger: Trigger) -> str:
    """Format the topic, the schedule or the path of a trigger."""
    match trigger:
        case WebhookTrigger(path=path):
            return path
        case _:
            return str(getattr(trigger, "topic", None) or getattr(trigger, "expression", ""))


def kind_of(trigger: Trigger) -> str:
    return str(trigger.__struct_config__.tag)


# --- versions and deployments ---------------------------------------------------------------------


_PRESENT = Prepared(
    select(_DEPLOYMENTS.c.version)
    .where(
        _DEPLOYMENTS.c.project == bindparam("project"), _DEPLOYMENTS.c.name == bindparam("workflow")
    )
    .order_by(_DEPLOYMENTS.c.number.desc())
    .limit(1)
)
_LIVE = Prepared(select(_TRIGGERS.c.id).where(_TRIGGERS.c.live, IsIn(_TRIGGERS.c.id, "ids")))
_COUNT_FIRED = Prepared(
    update(_TRIGGERS)
    .where(_TRIGGERS.c.id == bindparam("key"))
    .values(fired=_TRIGGERS.c.fired + bindparam("count"), last_fired=bindparam("now"))
)


def present_version(connection: Connection, project: str, name: str) -> str | None:
    """Read the id of the version that holds, if the workflow was deployed."""
    version: str | None = _PRESENT.value(connection, {"project": project, "workflow": name})
    return version


def live_ids(connection: Connection, ids: Iterable[str]) -> set[str]:
    """Select the triggers that are live."""
    return set(_LIVE.column(connection, {"ids": sorted(ids)}))


def present_deployment(connection: Connection, project: str, name: str) -> DeploymentRow | None:
    """Read the deployment that holds, if the workflow was deployed."""
    columns = _DEPLOYMENTS.c
    newest = (
        select(_DEPLOYMENTS)
        .where(columns.project == project, columns.name == name)
        .order_by(columns.number.desc())
        .limit(1)
    )
    row = connection.execute(newest).mappings().first()
    return None if row is None else DeploymentRow(**row)


def history(connection: Connection, project: str, name: str) -> list[DeploymentRow]:
    """List the deployments of a workflow, newest first."""
    columns = _DEPLOYMENTS.c
    rows = connection.execute(
        select(_DEPLOYMENTS)
        .where(columns.project == project, columns.name == name)
        .order_by(columns.number.desc())
        .limit(1000)
    )
    return [DeploymentRow(**row) for row in rows.mappings()]


def present_deployments(connection: Connection, project: str | None) -> list[DeploymentRow]:
    """List the deployments that hold, of one project or of all."""
    columns = _DEPLOYMENTS.c
    statement = select(_DEPLOYMENTS).order_by(columns.project, columns.name, columns.number)
    if project is not None:
        statement = statement.where(columns.project == project)
    rows = [DeploymentRow(**row) for row in connection.execute(statement).mappings()]
    # In the order of their numbers, so the last one of each workflow stays.
    return list({(row.project, row.name): row for row in rows}.values())


def deployed_names(connection: Connection, projects: Collection[str] | None = None) -> set[str]:
    """List the names of the workflows of some projects, or of all."""
    names = select(_DEPLOYMENTS.c.name).distinct()
    if projects is not None:
        names = names.where(_DEPLOYMENTS.c.project.in_(projects))
    return set(connection.execute(names).scalars())


def version(connection: Connection, project: str, name: str, version: str) -> VersionRow | None:
    """Find a version by its id, or by a beginning of it that only one version has."""
    columns = _VERSIONS.c
    rows = (
        connection.execute(
            select(_VERSIONS)
            .where(
                columns.project == project,
                columns.name == name,
                columns.version.startswith(version, autoescape=True),
            )
            .limit(2)
        )
        .mappings()
        .all()
    )
    return VersionRow(**rows[0]) if len(rows) == 1 else None


def add_version(connection: Connection, row: VersionRow) -> None:
    """Store a version, unless it is there."""
    if version(connection, row.project, row.name, row.version) is None:
        connection.execute(_VERSIONS.insert(), [_values(row)])


def add_deployment(connection: Connection, row: DeploymentRow) -> None:
    connection.execute(_DEPLOYMENTS.insert(), [_values(row)])


def _values(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__dataclass_fields__}


# --- triggers -------------------------------------------------------------------------------------


def triggers_of(connection: Connection, project: str, workflow: str) -> list[LiveTrigger]:
    """List the triggers of a workflow, those of earlier versions as not live."""
    columns = _TRIGGERS.c
    of_workflow = select(_TRIGGERS).where(columns.project == project, columns.workflow == workflow)
    return _read(connection, of_workflow.order_by(columns.name))


def live_triggers(connection: Connection, kinds: Sequence[str]) -> list[LiveTrigger]:
    """List the live triggers of some kinds."""
    columns = _TRIGGERS.c
    live = select(_TRIGGERS).where(columns.live, columns.kind.in_(kinds)).order_by(columns.id)
    return _read(connection, live)


def past_topics(connection: Connection) -> set[str]:
    """List the topics of triggers that are not live: a session may still subscribe to them."""
    columns = _TRIGGERS.c
    past = select(columns.address).where(~columns.live, columns.kind == "mqtt").distinct()
    return set(connection.execute(past).scalars())


def is_paused(triggers: ReadOnlyColumnCollection[str, Any]) -> ColumnElement[bool]:
    """Build the condition that the workflow of a trigger, or its project, is paused."""
    pauses = tables.PAUSES.c
    return exists().where(
        (pauses.project == triggers.project) | (pauses.project == tables.ALL_PROJECTS),
        (pauses.workflow == triggers.workflow) | (pauses.workflow == tables.WHOLE_PROJECT),
    )


_TRIGGER_COLUMNS = tuple(column.name for column in _TRIGGERS.c)
HAS_DUE_TICK = (
    _TRIGGERS.c.live,
    _TRIGGERS.c.kind == "cron",
    _TRIGGERS.c.next_tick <= bindparam("now"),
    # Theirs stay due, and must not take the places of all others.
    ~is_paused(_TRIGGERS.c),
)
_DUE = Prepared(
    select(_TRIGGERS)
    .where(*HAS_DUE_TICK)
    .order_by(_TRIGGERS.c.next_tick)
    .limit(bindparam("most"))
    # A trigger that another control plane fires right now is not waited for.
    .with_for_update(skip_locked=True)
)


def due_cron_triggers(connection: Connection, now_us: int, most: int) -> list[LiveTrigger]:
    """Lock and list cron triggers with a tick that is due, without those that are paused."""
    rows = _DUE.rows(connection, {"now": now_us, "most": most})
    return [_trigger(dict(zip(_TRIGGER_COLUMNS, row, strict=True))) for row in rows]


def locked_triggers(connection: Connection, ids: Iterable[str]) -> list[LiveTrigger]:
    """Lock and list triggers, without those that another transaction holds."""
    columns = _TRIGGERS.c
    chosen = select(_TRIGGERS).where(columns.id.in_(sorted(ids))).order_by(columns.id)
    return _read(connection, chosen.with_for_update(skip_locked=True))


def _read(connection: Connection, statement: Select[Any]) -> list[LiveTrigger]:
    return [_trigger(row) for row in connection.execute(statement).mappings()]


def _trigger(row: Mapping[Any, Any]) -> LiveTrigger:
    fields = {name: row[name] for name in LiveTrigger.__dataclass_fields__}
    return LiveTrigger(**{**fields, "definition": _decode_trigger(row["definition"])})


def put_trigger(connection: Connection, trigger: LiveTrigger) -> None:
    """Add a trigger, or replace its definition; its counts stay."""
    definition = trigger.definition
    fields = {
        "live": trigger.live,
        "kind": kind_of(definition),
        "definition": msgspec.json.encode(definition).decode(),
        "address": address_of(definition),
        "next_tick": trigger.next_tick,
    }
    changed = connection.execute(
        update(_TRIGGERS).where(_TRIGGERS.c.id == trigger.id).values(**fields)
    )
    if changed.rowcount == 0:
        key = {"id": trigger.id, "project": trigger.project, "workflow": trigger.workflow}
        new = {**key, "name": definition.name, "fired": 0, **fields}
        connection.execute(_TRIGGERS.insert(), [new])


def silence(connection: Connection, ids: Iterable[str]) -> None:
    """Let triggers of earlier versions fire no more."""
    gone = update(_TRIGGERS).where(_TRIGGERS.c.id.in_(list(ids)))
    connection.execute(gone.values(live=False, next_tick=None))


def set_next_tick(connection: Connection, id: str, next_us: int | None) -> None:
    connection.execute(update(_TRIGGERS).where(_TRIGGERS.c.id == id).values(next_tick=next_us))


def count_fired(connection: Connection, id: str, count: int, now_us: int) -> None:
    _COUNT_FIRED.change(connection, {"key": id, "count": count, "now": now_us})
