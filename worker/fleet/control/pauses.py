"""Pauses: the workflows and projects whose runs are not leased for now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, select

from worker.fleet.control.store import tables
from worker.fleet.control.store.prepared import Prepared
from worker.fleet.control.store.tables import ALL_PROJECTS, WHOLE_PROJECT
from worker.fleet.control.unit_of_work import UnitOfWork

_PAUSES = tables.PAUSES.c


@dataclass(frozen=True, slots=True)
class Pauses:
    """The pauses in force, each a project (``*``: all) and a workflow (empty: all)."""

    entries: frozenset[tuple[str, str]] = frozenset()

    def covers_project(self, project: str) -> bool:
        """Check that no run of a project is leased."""
        return not self.entries.isdisjoint(
            {(project, WHOLE_PROJECT), (ALL_PROJECTS, WHOLE_PROJECT)}
        )

    def covers(self, project: str, workflow: str) -> bool:
        """Check that no run of a workflow of a project is leased."""
        return self.covers_project(project) or workflow in self.workflows(project)

    def workflows(self, project: str) -> list[str]:
        """List the paused workflows of a project."""
        return sorted(
            workflow for name, workflow in self.entries if name in (project, ALL_PROJECTS)
        )


_ENTRIES = Prepared(select(_PAUSES.project, _PAUSES.workflow))


def read_pauses(connection: Connection) -> Pauses:
    return Pauses(frozenset((project, workflow) for project, workflow in _ENTRIES.rows(connection)))


def list_pauses(connection: Connection) -> list[dict[str, Any]]:
    """List the pauses with who made them, the oldest first."""
    rows = connection.execute(select(tables.PAUSES).order_by(_PAUSES.at)).mappings()
    return [
        {**row, "project": _none(row["project"], ALL_PROJECTS), "workflow": row["workflow"] or None}
        for row in rows
    ]


def _none(value: str, none: str) -> str | None:
    return None if value == none else value


def put_pause(uow: UnitOfWork, project: str, workflow: str) -> None:
    """Pause a workflow of a project. One that is paused already stays as it is."""
    row = {"project": project, "workflow": workflow, "at": uow.now_us, "client": uow.client}
    uow.transaction.add("pauses", row)


def remove_pauses(uow: UnitOfWork, entries: Iterable[tuple[str, str]]) -> int:
    """Remove pauses. Return how many there were."""
    uow.transaction.flush()
    removed = 0
    for project, workflow in entries:
        matching = (_PAUSES.project == project) & (_PAUSES.workflow == workflow)
        removed += uow.transaction.connection.execute(
            delete(tables.PAUSES).where(matching)
        ).rowcount
    return removed
