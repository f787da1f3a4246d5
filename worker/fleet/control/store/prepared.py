"""Statements that are compiled once for each database, and executed by its driver.

SQLAlchemy needs 50 us to execute a statement that it has compiled before, SQLite 3 us for most of
those of a run. So the statements that each run has are executed without its help; all others are
executed by SQLAlchemy, on the same connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Boolean, ColumnElement, Connection, Dialect, Executable, Text, bindparam
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

Values = Mapping[str, Any]
Row = tuple[Any, ...]


class IsIn(ColumnElement[bool]):
    """The condition that a column has one of the values of a list, a parameter ``name``."""

    # Not SQLAlchemy's own, which has another text for each length of the list.
    inherit_cache = False

    def __init__(self, column: ColumnElement[Any], name: str) -> None:
        self.column = column
        self.values = bindparam(name, type_=ARRAY(Text()))


@compiles(IsIn, "postgresql")
def _any(element: IsIn, compiler: SQLCompiler, **options: Any) -> str:
    column = compiler.process(element.column, **options)
    return f"({column} = ANY ({compiler.process(element.values, **options)}))"


@compiles(IsIn, "sqlite")
def _each(element: IsIn, compiler: SQLCompiler, **options: Any) -> str:
    column = compiler.process(element.column, **options)
    values = compiler.process(element.values, **options)
    return f"({column} IN (SELECT value FROM json_each({values})))"  # noqa: S608


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compiled:
    """A statement for a driver. ``names`` orders its parameters where the driver has no names."""

    text: str
    names: Sequence[str] | None
    constants: Values
    json_names: frozenset[str]
    flags: tuple[int, ...]

    def parameters(self, values: Values) -> Any:
        if self.json_names:
            values = {
                name: msgspec.json.encode(value).decode() if name in self.json_names else value
                for name, value in values.items()
            }
        if self.constants:
            values = {**self.constants, **values}
        return values if self.names is None else [values[name] for name in self.names]

    def converted(self, rows: list[Row]) -> list[Row]:
        """Return rows with truth values where SQLite has numbers."""
        return [self._convert(row) for row in rows] if self.flags else rows

    def _convert(self, row: Row) -> Row:
        values = list(row)
        for index in self.flags:
            values[index] = bool(values[index])
        return tuple(values)


class Prepared:
    """A statement with named parameters; ``columns`` are those that it writes, by default all."""

    def __init__(self, statement: Executable, columns: Sequence[str] | None = None) -> None:
        self._statement = statement
        self._columns = columns
        self._compiled: dict[str, _Compiled] = {}

    def rows(self, connection: Connection, values: Values | None = None) -> list[Row]:
        """Execute the statement, and return all rows."""
        compiled = self._compile(connection.dialect)
        with _Cursor(connection, compiled) as cursor:
            cursor.execute(compiled.text, compiled.parameters(values or {}))
            return compiled.converted(cursor.fetchall())

    def column(self, connection: Connection, values: Values | None = None) -> list[Any]:
        """Execute the statement, and return the first value of each row."""
        return [row[0] for row in self.rows(connection, values)]

    def value(self, connection: Connection, values: Values | None = None) -> Any:
        """Execute the statement, and return the first value of the first row, if there is one."""
        rows = self.rows(connection, values)
        return rows[0][0] if rows else None

    def change(self, connection: Connection, values: Values | None = None) -> int:
        """Execute the statement, and return the number of rows that it changed."""
        compiled = self._compile(connection.dialect)
        with _Cursor(connection, compiled) as cursor:
            cursor.execute(compiled.text, compiled.parameters(values or {}))
            return int(cursor.rowcount)

    def change_each(self, connection: Connection, rows: Iterable[Values]) -> None:
        """Execute the statement for each of several rows."""
        compiled = self._compile(connection.dialect)
        with _Cursor(connection, compiled) as cursor:
            cursor.executemany(compiled.text, [compiled.parameters(row) for row in rows])

    def _compile(self, dialect: Dialect) -> _Compiled:
        if dialect.name not in self._compiled:
            self._compiled[dialect.name] = _compile(self._statement, self._columns, dialect)
        return self._compiled[dialect.name]


def _compile(statement: Any, written: Sequence[str] | None, dialect: Dialect) -> _Compiled:
    compiled = statement.compile(dialect=dialect, column_keys=written)
    is_sqlite = dialect.name == "sqlite"
    lists = (name for name, bind in compiled.binds.items() if isinstance(bind.type, ARRAY))
    columns = compiled._result_columns if is_sqlite else ()
    return _Compiled(
        text=compiled.string,
        names=compiled.positiontup if is_sqlite else None,
        constants={name: value for name, value in compiled.params.items() if value is not None},
        json_names=frozenset(lists) if is_sqlite else frozenset(),
        flags=tuple(at for at, each in enumerate(columns) if isinstance(each.type, Boolean)),
    )


class _Cursor:
    """A cursor of the driver for one statement, whose errors become those of SQLAlchemy."""

    # Not a generator, which takes as long as a short statement.
    __slots__ = ("_compiled", "_connection", "_cursor")

    def __init__(self, connection: Connection, compiled: _Compiled) -> None:
        self._connection, self._compiled = connection, compiled

    def __enter__(self) -> Any:
        self._cursor: Any = self._connection.connection.cursor()
        return self._cursor

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._cursor.close()
        driver: Any = self._connection.dialect.loaded_dbapi
        if error is not None and isinstance(error, driver.Error):
            raise _wrapped(self._connection, self._compiled, error) from error


def _wrapped(connection: Connection, compiled: _Compiled, error: Any) -> Any:
    """Return an error of the driver as SQLAlchemy raises it, and leave a connection that broke."""
    dialect = connection.dialect
    broken = dialect.is_disconnect(error, connection.connection.dbapi_connection, None)
    if broken:
        connection.invalidate(error)
    return DBAPIError.instance(
        compiled.text,
        None,
        error,
        dialect.loaded_dbapi.Error,
        connection_invalidated=broken,
        dialect=dialect,
        hide_parameters=True,
    )
