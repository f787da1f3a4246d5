"""The store: opens the database, brings its tables up to date, and gives transactions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from worker.errors import UsageError, WorkerError
from worker.fleet.control.store.transaction import Transaction

T = TypeVar("T")
TRIES = 5
# In the way of each other: a plan that is gone, a unique key, a serialization failure, a deadlock.
_IN_THE_WAY = ("23503", "23505", "40001", "40P01")
_MIGRATING = 7_205_759_403
"""The key of the lock that keeps two control planes from making the same tables."""


class StoreError(WorkerError):
    """The database cannot be used."""


class Store:
    """A database of orders and runs: ``sqlite:///orders.db`` or ``postgresql://user@host/name``.

    ``sqlite://`` alone is kept in memory, for tests and embedding.
    """

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        self.dialect = self._engine.dialect.name

    def migrate(self) -> None:
        """Bring the tables up to date. Raises :class:`StoreError` where that cannot be done."""
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        try:
            with self._engine.begin() as connection:
                if self.dialect == "postgresql":
                    lock = text("SELECT pg_advisory_xact_lock(:key)")
                    connection.execute(lock, {"key": _MIGRATING})
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except CommandError as error:
            raise StoreError(
                f"{self._engine.url!s}: its tables were made by a newer version: {error}"
            ) from error
        except DBAPIError as error:
            raise StoreError(f"{self._engine.url!s} cannot be opened: {error.orig}") from error

    @contextlib.contextmanager
    def work(self) -> Iterator[Transaction]:
        """A transaction: what it collected is written and committed at its end, or nothing is."""
        with self._engine.begin() as connection:
            work = Transaction(connection)
            yield work
            work.flush()

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that writes nothing."""
        with self._engine.connect() as connection:
            yield connection

    def close(self) -> None:
        self._engine.dispose()


def again(act: Callable[[], T]) -> T:
    """Do a transaction, and do it again where another control plane was in its way."""
    for _ in range(TRIES - 1):
        try:
            return act()
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in _IN_THE_WAY:
                raise
    return act()


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise UsageError(
            f"'{url}' names no database: write sqlite:///orders.db or postgresql://user@host/name"
        ) from error
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    try:
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(parsed)
        if parsed.get_backend_name() != "postgresql":
            raise UsageError(f"'{parsed.drivername}' is not supported: use sqlite or postgresql")
        return create_engine(parsed, pool_pre_ping=True)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise UsageError(
            f"{error}: PostgreSQL needs an extra, pip install 'workflow-worker[postgresql]'"
        ) from error


def _sqlite(url: Any) -> Engine:
    from sqlalchemy.pool import StaticPool

    memory = url.database in (None, "", ":memory:")
    if not memory:
        try:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{url!s} cannot be opened: {error.strerror}") from error
    engine = create_engine(
        url,
        connect_args={"check_same_thread": False, "timeout": 30},
        **({"poolclass": StaticPool} if memory else {}),
    )

    @event.listens_for(engine, "connect")
    def _open(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-65536"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # One writer at a time, and it waits for its turn where it begins, not halfway.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
