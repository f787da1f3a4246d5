"""The store: opens the database, migrates its tables, and begins transactions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError

from worker.errors import UsageError, WorkerError
from worker.fleet.control.store.transaction import Transaction

T = TypeVar("T")
MAX_ATTEMPTS = 5
# SQLSTATE of conflicts between control planes: a foreign key (a plan that was just deleted), a
# unique key, a serialization failure, a deadlock. All succeed when the transaction is repeated.
_CONFLICTS = ("23503", "23505", "40001", "40P01")
# The key of the lock that keeps two control planes from creating the same tables.
_MIGRATION_LOCK = 7_205_759_403


class StoreError(WorkerError):
    """The database cannot be used."""


class Store:
    """A database of orders and runs: ``sqlite:///orders.db`` or ``postgresql://user@host/name``.

    ``sqlite://`` alone is a database in memory, for tests and embedding.
    """

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        self.dialect = self._engine.dialect.name

    def migrate(self) -> None:
        """Migrate the tables to this version. Raises :class:`StoreError` where that fails."""
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        try:
            with self._engine.begin() as connection:
                if self.dialect == "postgresql":
                    lock = text("SELECT pg_advisory_xact_lock(:key)")
                    connection.execute(lock, {"key": _MIGRATION_LOCK})
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except CommandError as error:
            raise StoreError(
                f"{self._engine.url!s}: its tables were made by a newer version: {error}"
            ) from error
        except DBAPIError as error:
            raise StoreError(f"{self._engine.url!s} cannot be opened: {error.orig}") from error

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Begin a transaction; its changes are written and committed when the ``with`` ends."""
        with self._engine.begin() as connection:
            transaction = Transaction(connection)
            yield transaction
            transaction.flush()

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a connection for queries; nothing is committed."""
        with self._engine.connect() as connection:
            yield connection

    def close(self) -> None:
        self._engine.dispose()


def retry_on_conflict(run_transaction: Callable[[], T]) -> T:
    """Run a transaction, and repeat it where it conflicts with another control plane's."""
    for _ in range(MAX_ATTEMPTS - 1):
        try:
            return run_transaction()
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in _CONFLICTS:
                raise
    return run_transaction()


def outage(error: BaseException) -> str:
    """Return the reason where the database cannot be used for now, else an empty string.

    It is full, read-only, locked, or away. A transaction that failed so changed nothing.
    """
    return str(error.orig) if isinstance(error, OperationalError) else ""


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise UsageError(
            f"'{url}' is not a database URL (expected sqlite:///orders.db or "
            "postgresql://user@host/name)"
        ) from error
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    try:
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(parsed)
        if parsed.get_backend_name() != "postgresql":
            raise UsageError(
                f"unknown database '{parsed.drivername}' (expected sqlite or postgresql)"
            )
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
        # Else the driver begins transactions by itself, and not with BEGIN IMMEDIATE.
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-65536"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # SQLite has one writer at a time. Waiting for it at the beginning cannot deadlock; an
        # upgrade from reading to writing can.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
