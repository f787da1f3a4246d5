"""Lists, searches and counts of orders and runs, in parts of a bounded number of rows.

What no index finds, such as a part of an id or a tag, is looked for in up to ``PART_ROWS`` rows at
a time, in the order of their creation. So no query holds up the fleet, however many rows there are:
clients request the next part from where one has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, func, or_, select

from worker.core.status import Status
from worker.fleet.control.store import tables
from worker.fleet.messaging.client_messages import OrderQuery

PART_ROWS = 5_000
MAX_PARTS = 4
"""Parts that one request may look through: some 50 ms."""
Place = tuple[int, str]
"""The creation time of an order or a run, and its id."""
_ORDERS = tables.ORDERS.c
_SEARCHED = {"orders": ("id", "workflow", "tags"), "runs": ("id", "order_id", "workflow")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The rows of a part that match; ``end`` is where the next part begins, if there is one."""

    rows: Sequence[Any]
    end: Place | None = None


class Listing:
    """The rows of a table that match a query, in the order of their creation.

    ``statuses`` are further ones, of which each row has one. Without ``newest_first`` the oldest
    are first; ``query.before`` is then not applied.
    """

    def __init__(
        self,
        table: Table,
        query: OrderQuery,
        *,
        statuses: Sequence[str] = (),
        newest_first: bool = True,
    ) -> None:
        self._table = table
        self._query = query
        self._statuses = statuses
        self._newest_first = newest_first
        self._indexed = _indexed_field(query)
        self._place = (query.before, query.beyond) if newest_first else (None, None)

    def start_after(self, created: int | None, id: str | None) -> None:
        """Leave out the rows up to a place, in the order of the list."""
        self._place = (created, id)

    @property
    def part_rows(self) -> int:
        """The most rows that a part looks through."""
        return PART_ROWS if self._has_filters else self._query.limit

    def part(self, connection: Connection, limit: int) -> Part:
        """Read the first rows that match, up to ``limit``."""
        rows = self._within(self._ordered(select(self._table)))
        page = self._filter(rows) if self._has_filters else rows
        matching = connection.execute(page.limit(limit)).all()
        is_full = len(matching) == limit or not self._has_filters
        return Part(rows=matching, end=None if is_full else self._end(connection))

    def count(self, connection: Connection, at_most: int) -> tuple[int, Place | None]:
        """Count the rows of a part that match, up to ``at_most``; return where the next begins."""
        rows = self._within(self._ordered(select(self._table)))
        page = self._filter(rows) if self._has_filters else self._within(select(self._table.c.id))
        counted = select(func.count()).select_from(page.limit(at_most).subquery())
        number = int(connection.execute(counted).scalar_one())
        is_complete = number == at_most or not self._has_filters
        return number, None if is_complete else self._end(connection)

    def _end(self, connection: Connection) -> Place | None:
        columns = self._table.c
        last = self._within(self._ordered(select(columns.created, columns.id)))
        row = connection.execute(last.offset(PART_ROWS - 1).limit(1)).first()
        return None if row is None else (row[0], row[1])

    # --- conditions -------------------------------------------------------------------------------

    @property
    def _has_filters(self) -> bool:
        query = self._query
        fields = {"status", "project", "workflow"} - {self._indexed}
        unindexed = any(getattr(query, name) is not None for name in fields)
        return unindexed or bool(self._statuses or query.search) or query.tag is not None

    def _ordered(self, rows: Select[Any], columns: Any = None) -> Select[Any]:
        columns = self._table.c if columns is None else columns
        created = columns.created.desc() if self._newest_first else columns.created
        return rows.order_by(created, columns.id)

    def _within(self, rows: Select[Any]) -> Select[Any]:
        """Add the conditions that an index meets."""
        columns, query = self._table.c, self._query
        if self._indexed:
            rows = rows.where(columns[self._indexed] == getattr(query, self._indexed))
        if query.since is not None:
            rows = rows.where(columns.created >= query.since)
        if query.until is not None:
            rows = rows.where(columns.created < query.until)
        return rows.where(*self._beyond(*self._place))

    def _beyond(self, created: int | None, id: str | None) -> Iterable[ColumnElement[bool]]:
        if created is None:
            return
        at = self._table.c.created
        further = at < created if self._newest_first else at > created
        if id is None:
            yield further
            return
        # Alone it would be met by no index, and all rows before that place would be read.
        yield at <= created if self._newest_first else at >= created
        yield further | ((at == created) & (self._table.c.id > id))

    def _filter(self, rows: Select[Any]) -> Select[Any]:
        """Select those rows of a part that meet all other conditions."""
        part = rows.limit(PART_ROWS).subquery()
        return self._ordered(select(part).where(*self._filters(part.c)), part.c)

    def _filters(self, columns: Any) -> Iterable[ColumnElement[bool]]:
        query = self._query
        for name in {"status", "project", "workflow"} - {self._indexed}:
            if (value := getattr(query, name)) is not None:
                yield columns[name] == value
        if self._statuses:
            yield columns.status.in_(self._statuses)
        if query.tag is not None:
            yield self._tags(columns).contains(f" {query.tag} ", autoescape=True)
        if query.search:
            names = _SEARCHED[self._table.name]
            yield or_(*(columns[name].icontains(query.search, autoescape=True) for name in names))

    def _tags(self, columns: Any) -> Any:
        if self._table is tables.ORDERS:
            return columns.tags
        # Not a join, which a database may begin with all orders that have the tag.
        return select(_ORDERS.tags).where(_ORDERS.id == columns.order_id).scalar_subquery()


def _indexed_field(query: OrderQuery) -> str:
    """Return the field with an index that few rows match; empty for none."""
    fields = ("status", "project", "workflow")
    # Most orders are a success.
    if query.status == Status.SUCCESS.value:
        fields = ("project", "workflow", "status")
    return next((name for name in fields if getattr(query, name) is not None), "")
