"""Databases of control planes, opened to be read by another program: never written."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from worker.errors import UsageError
from worker.fleet.control.entities import RunPhase
from worker.fleet.control.store import tables
from worker.fleet.control.store.queries import matching_runs
from worker.fleet.control.store.store import StoreError
from worker.fleet.messaging.client_messages import RunQuery
from worker.util.masking import hide_url_secrets

_RUNS = tables.RUNS.c


@contextlib.contextmanager
def reading(url: str) -> Iterator[Connection]:
    """Open a database as it is at one moment; ``url`` can be the file of an SQLite database.

    Raises :class:`UsageError` for a URL of no database, and :class:`StoreError` where it cannot be
    read.
    """
    engine = _read_only(url)
    try:
        with engine.connect() as connection, connection.begin():
            if engine.dialect.name == "postgresql":
                connection.exec_driver_sql(
                    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
                )
            yield connection
    except DBAPIError as error:
        raise StoreError(f"{hide_url_secrets(url)} cannot be read: {error.orig}") from error
    finally:
        engine.dispose()


def ended_run_ids(url: str, query: RunQuery) -> list[str]:
    """List the ids of all runs that match and have ended, the oldest first. Raises like `reading`.

    ``query.limit`` is not applied.
    """
    matching = matching_runs(query).where(_RUNS.phase == RunPhase.FINAL.value)
    ids = matching.with_only_columns(_RUNS.id).order_by(_RUNS.created, _RUNS.id)
    with reading(url) as connection:
        return list(connection.execute(ids).scalars())


def _read_only(url: str) -> Engine:
    try:
        parsed = make_url(url if "://" in url else f"sqlite:///{url}")
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            return _sqlite(parsed.database)
        if parsed.get_backend_name() == "postgresql":
            return create_engine(parsed.set(drivername="postgresql+psycopg"), hide_parameters=True)
    except (ArgumentError, ValueError) as error:
        raise UsageError(f"'{hide_url_secrets(url)}' is not a database URL") from error
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise UsageError(
            f"{error}: PostgreSQL needs an extra, pip install 'workflow-worker[postgresql]'"
        ) from error
    raise UsageError(
        f"'{hide_url_secrets(url)}' is not a database of a control plane (expected "
        "sqlite:///orders.db or postgresql://user@host/name)"
    )


def _sqlite(file: str) -> Engine:
    if not Path(file).is_file():
        raise UsageError(f"there is no database {file}")
    # Not the URL of the control plane: that would create the file, and take the writer's lock.
    place = f"file:{quote(file)}?mode=ro"
    return create_engine(
        "sqlite://", creator=lambda: sqlite3.connect(place, uri=True), hide_parameters=True
    )
