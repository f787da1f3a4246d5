"""Audit log: which client cancelled, retried, paused, resumed, acknowledged or deployed what."""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import Connection, Select, bindparam, select

from worker.fleet.control.store import tables
from worker.fleet.control.unit_of_work import UnitOfWork

MAX_LISTED = 1000
_ACTIONS = tables.ACTIONS.c
_NEWEST = select(tables.ACTIONS).order_by(_ACTIONS.at.desc(), _ACTIONS.id).limit(MAX_LISTED)
_ON_SUBJECT = _NEWEST.where(_ACTIONS.subject == bindparam("subject"))
_OF_PROJECT = _NEWEST.where(_ACTIONS.project == bindparam("project"))


def record_action(
    uow: UnitOfWork, action: str, *, project: str, subject: str, detail: str = ""
) -> None:
    """Record an action of the client whose request is being handled.

    ``subject`` is the id of an order, or the name of a workflow or a project.
    """
    # The transmissions of one request are one action: they have the same id.
    request = uow.request_id or str(uow.next_timestamp())
    id = hashlib.sha256(f"{request}/{action}/{project}/{subject}".encode()).hexdigest()
    uow.transaction.add(
        "actions",
        {
            "id": id,
            "at": uow.now_us,
            "client": uow.client,
            "action": action,
            "project": project,
            "subject": subject,
            "detail": detail,
        },
    )


def actions_on(connection: Connection, subject: str) -> list[dict[str, Any]]:
    """List what was done with an order or a workflow, in order."""
    return _listed(connection, _ON_SUBJECT, subject=subject)


def list_actions(connection: Connection, project: str | None) -> list[dict[str, Any]]:
    """List what was done in a project, or in all, in order."""
    if project is None:
        return _listed(connection, _NEWEST)
    return _listed(connection, _OF_PROJECT, project=project)


def _listed(connection: Connection, newest: Select[Any], **values: str) -> list[dict[str, Any]]:
    rows = [dict(row) for row in connection.execute(newest, values).mappings()]
    return [{name: row[name] for name in row if name != "id"} for row in reversed(rows)]
