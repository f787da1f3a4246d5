"""The store: opens the database, migrates its tables, and begins transactions."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from worker.errors import UsageError, WorkerError
from worker.fleet.control.store.prepared import Prepared
from worker.fleet.control.store.transaction import Transaction
from worker.util.machine_clock import now_us
from worker.util.masking import hide_url_secrets
from worker.util.private_files import make_private_folder

T = TypeVar("T")
MAX_ATTEMPTS = 5
# SQLSTATE of conflicts between control planes: a foreign key (a plan that was just deleted), a
# unique key, a serialization failure, a deadlock. All succeed when the transaction is repeated.
_CONFLICTS = ("23503", "23505", "40001", "40P01")
# Those that only other transactions bring about: a defect of this code is never one of them.
_COLLISIONS = ("40001", "40P01")
# The key of the lock that keeps two control planes from creating the same tables.
_MIGRATION_LOCK = 7_205_759_403
# The key of the lock of the control plane that works with the database.
_PLANE_LOCK = 7_205_759_404


# SQLSTATE classes of a database that is away for now: connection, resources (a full disk),
# intervention of the operator (a restart, a timeout), system error; and a lock that is not free.
_AWAY = ("08", "53", "57", "58", "55P03")
_AWAY_SQLITE = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN",
                "SQLITE_READONLY")  # fmt: skip
MAX_FREED_PAGES = 2_000
"""How many pages of 4 kB go back at once: more would make others wait."""
_AUTO_VACUUM_OFF = 0
# What no waiting mends. A connection that is refused has no SQLSTATE.
_WRONG_URL = ("authentication failed", "does not exist", "pg_hba.conf", "could not translate host",
              "failed to resolve host")  # fmt: skip
# Short, as a process that ends waits for it; whoever wants to wait longer repeats the transaction.
SQLITE_BUSY_TIMEOUT_S = 5.0
START_ATTEMPTS = 12
# A server that is gone without a word is noticed by these, and not after two hours.
_POSTGRESQL = {
    "connect_timeout": 10,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}


_BEGIN = Prepared(text("BEGIN IMMEDIATE"))
_CLOCK = text("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")


class StoreError(WorkerError):
    """The database cannot be used."""


class StoreUnavailable(StoreError):
    """The database is away for now: restarted, locked, full. A repeated transaction may succeed."""


class Store:
    """A database of orders and runs: ``sqlite:///orders.db`` or ``postgresql://user@host/name``.

    ``sqlite://`` alone is a database in memory, for tests and embedding.
    """

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        self.dialect = self._engine.dialect.name
        url_text = str(self._engine.url)
        # A file has no password, and a folder of its path may look like a token.
        self._name = url_text if self.dialect == "sqlite" else hide_url_secrets(url_text)
        self._reserved: IO[str] | Connection | None = None
        self._locks: dict[int, Connection] = {}
        self._idle: list[Connection] = []

    def reserve(self, *, shared: bool) -> None:
        """Keep other control planes out until the store is closed, unless all are ``shared``.

        Raises :class:`UsageError` where that is not possible.
        """
        self._release()
        if self.dialect == "postgresql":
            self._reserve_postgresql(shared=shared)
        elif shared:
            raise UsageError("--shared needs PostgreSQL: SQLite is for one control plane")
        elif (file := self._engine.url.database) not in (None, "", ":memory:"):
            # Held open until the store is closed: the lock goes with the file.
            self._reserved = Path(f"{file}.lock").open("w")  # noqa: SIM115
            try:
                fcntl.flock(self._reserved, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                self._reserved.close()
                raise UsageError(f"{file} is in use by another control plane") from error

    def _release(self) -> None:
        """Release the reservation at once: it would refuse the next one."""
        reserved, self._reserved = self._reserved, None
        if isinstance(reserved, Connection):
            # Not by closing it: in the pool, or until the server notices, it keeps its lock.
            with contextlib.suppress(DBAPIError):
                reserved.execute(text("SELECT pg_advisory_unlock_all()"))
        if reserved is not None:
            reserved.close()

    def _reserve_postgresql(self, *, shared: bool) -> None:
        # A lock of the session: it goes with the process, whatever becomes of it.
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        lock = "pg_try_advisory_lock" + ("_shared" if shared else "")
        if not connection.execute(text(f"SELECT {lock}(:key)"), {"key": _PLANE_LOCK}).scalar():
            connection.close()
            raise UsageError(
                f"{self._name} is in use by another control plane: start all of them with --shared"
            )
        self._reserved = connection

    def holds_lock(self, key: int) -> bool:
        """Take a lock of this store, or check that this process holds it.

        It goes with the process. SQLite has one control plane, which holds all locks.
        """
        if self.dialect != "postgresql":
            return True
        with _unavailable():
            if (connection := self._locks.get(key)) is not None:
                try:
                    connection.execute(text("SELECT 1"))
                    return True
                except DBAPIError:
                    # The session is gone, and its lock may be another's by now.
                    self._locks.pop(key).close()
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            take = text("SELECT pg_try_advisory_lock(:key)")
            if connection.execute(take, {"key": key}).scalar():
                self._locks[key] = connection
                return True
            connection.close()
        return False

    def migrate(self) -> None:
        """Migrate the tables to this version. Raises :class:`StoreError` where that fails."""
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        attempts = START_ATTEMPTS
        while True:
            try:
                with self._engine.begin() as connection:
                    if self.dialect == "postgresql":
                        lock = text("SELECT pg_advisory_xact_lock(:key)")
                        connection.execute(lock, {"key": _MIGRATION_LOCK})
                    config.attributes["connection"] = connection
                    return command.upgrade(config, "head")
            except CommandError as error:
                raise StoreError(
                    f"{self._name}: its tables were made by a newer version: {error}"
                ) from error
            except DBAPIError as error:
                attempts -= 1
                # A backup may hold the file for a minute.
                if attempts and _sqlite_error(error).startswith("SQLITE_BUSY"):
                    continue
                kind = StoreUnavailable if _may_come_back(error) else StoreError
                raise kind(f"{self._name} cannot be opened: {error.orig}") from error

    def open(self, *, shared: bool) -> None:
        """Migrate the tables, and reserve the database.

        Raises :class:`StoreUnavailable` where a repetition may succeed.
        """
        self.migrate()
        with _unavailable():
            self.reserve(shared=shared)

    def give_pages_back(self) -> None:
        """Return up to ``MAX_FREED_PAGES`` free pages of a SQLite file to the disk.

        Raises :class:`StoreUnavailable` where the file is locked, or the disk is full.
        """
        if self.dialect == "sqlite":
            with _unavailable(), _driver_errors(), self._engine.connect() as connection:
                driver = connection.connection.driver_connection
                assert driver is not None
                # It commits what is open, and runs a statement to its end: a page a step.
                driver.executescript(f"PRAGMA incremental_vacuum({MAX_FREED_PAGES})")

    def compact(self) -> None:
        """Rewrite a SQLite file that an older version made, so that it gives free pages back.

        Raises :class:`StoreUnavailable` where the file is locked, or the disk is full.
        """
        if self.dialect != "sqlite":
            return
        with _driver_errors(), contextlib.closing(self._engine.raw_connection()) as raw:
            cursor = raw.cursor()
            if cursor.execute("PRAGMA auto_vacuum").fetchone()[0] == _AUTO_VACUUM_OFF:
                cursor.execute("PRAGMA auto_vacuum=INCREMENTAL")
                cursor.execute("VACUUM")

    def execute(self, work: Callable[[Transaction], T]) -> T:
        """Do work in a transaction, and repeat both where another control plane's conflicts.

        Raises :class:`StoreUnavailable`; then nobody knows whether it was committed.
        """
        for _ in range(MAX_ATTEMPTS - 1):
            try:
                return self._attempt(work)
            except DBAPIError as error:
                if _state(error) not in _CONFLICTS:
                    raise
        try:
            return self._attempt(work)
        except DBAPIError as error:
            # The others need time: at once it would collide for ever.
            if _state(error) in _COLLISIONS:
                raise StoreUnavailable(f"the database is contended: {error.orig}") from error
            raise

    def _attempt(self, work: Callable[[Transaction], T]) -> T:
        with self.transaction() as transaction:
            return work(transaction)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Begin one attempt of a transaction; it is written and committed when the ``with`` ends.

        For :meth:`execute`, and for tests: a conflict is not repeated.
        """
        with _unavailable(), self._connection() as connection, connection.begin():
            transaction = Transaction(connection)
            yield transaction
            transaction.flush()

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Connection]:
        """Lend a connection, which is not in a transaction."""
        connection = self._idle.pop() if self._idle else self._engine.connect()
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        # The pool takes as long as a short transaction. Over a network it has to check that the
        # connection is alive, which a file always is.
        if self.dialect == "sqlite":
            self._idle.append(connection)
        else:
            connection.close()

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a connection for queries, which change nothing."""
        with _unavailable(), self._connection() as connection:
            yield connection
            # Not a rollback: after one, psycopg prepares all statements of the connection anew. The
            # driver's own too, which SQLAlchemy does not know of.
            connection.commit()
            connection.connection.commit()

    def now_us(self) -> int:
        """Return the time in microseconds since the epoch: PostgreSQL's own, or the machine's."""
        if self.dialect != "postgresql":
            return now_us()
        with self.read() as connection:
            return int(connection.execute(_CLOCK).scalar_one())

    def close(self) -> None:
        for connection in (*self._locks.values(), *self._idle):
            connection.close()
        self._idle.clear()
        self._release()
        self._engine.dispose()


@contextlib.contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if not _is_away(error):
            raise
        raise StoreUnavailable(f"the database is not available: {error.orig}") from error


@contextlib.contextmanager
def _driver_errors() -> Iterator[None]:
    """Convert the errors of statements that SQLite's driver executes without SQLAlchemy."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreUnavailable(f"the database is not available: {error}") from error


def _is_away(error: DBAPIError) -> bool:
    # psycopg has no code for a connection that cannot be made or that breaks.
    state = _state(error)
    broken = error.connection_invalidated or type(error.orig).__name__ == "OperationalError"
    return (
        state.startswith(_AWAY)
        or _sqlite_error(error).startswith(_AWAY_SQLITE)
        or (broken and not state and not _sqlite_error(error))
    )


def _may_come_back(error: DBAPIError) -> bool:
    """Return True for a PostgreSQL that stops or starts at present, and not for a wrong URL."""
    if _sqlite_error(error) or not _is_away(error):
        return False
    return not any(reason in str(error.orig) for reason in _WRONG_URL)


def _state(error: DBAPIError) -> str:
    """Return PostgreSQL's SQLSTATE of an error; empty where it has none."""
    return getattr(error.orig, "sqlstate", None) or ""


def _sqlite_error(error: DBAPIError) -> str:
    """Return SQLite's name of an error, such as ``SQLITE_BUSY``; empty for other databases."""
    return getattr(error.orig, "sqlite_errorname", "")


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise UsageError(
            f"'{hide_url_secrets(url)}' is not a database URL (expected sqlite:///orders.db or "
            "postgresql://user@host/name)"
        ) from error
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    try:
        if parsed.get_backend_name() == "sqlite":
            return _sqlite(parsed)
        if parsed.get_backend_name() != "postgresql":
            raise _unknown(parsed.drivername)
        defaults = {key: value for key, value in _POSTGRESQL.items() if key not in parsed.query}
        engine = create_engine(
            parsed, pool_pre_ping=True, connect_args=defaults, hide_parameters=True
        )
        event.listen(engine, "connect", _set_up_session)
        return engine
    except NoSuchModuleError as error:
        raise _unknown(parsed.drivername) from error
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{error}: PostgreSQL needs an extra, pip install 'workflow-worker[postgresql]'"
        ) from error


def _set_up_session(connection: Any, _: Any) -> None:
    # A plan that is kept reads whole tables: it was made while they were small, and they grow until
    # PostgreSQL analyses them, a minute later or never.
    connection.execute("SET plan_cache_mode = force_custom_plan")
    connection.commit()


def _unknown(driver: str) -> UsageError:
    return UsageError(f"unknown database '{driver}' (expected sqlite or postgresql)")


def _sqlite(url: Any) -> Engine:
    from sqlalchemy.pool import StaticPool

    memory = url.database in (None, "", ":memory:")
    engine = create_engine(
        url,
        # Errors are logged, and the values of a statement are inputs, plans and states.
        hide_parameters=True,
        connect_args={"check_same_thread": False, "timeout": SQLITE_BUSY_TIMEOUT_S},
        **({"poolclass": StaticPool} if memory else {}),
    )
    if not memory:
        try:
            make_private_folder(Path(url.database).parent)
            # SQLite gives the files of its log the mode of the database.
            os.close(os.open(url.database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StoreError(f"{url!s} cannot be opened: {error.strerror}") from error

    @event.listens_for(engine, "connect")
    def _open(connection: Any, _: Any) -> None:
        # Else the driver begins transactions by itself, and not with BEGIN IMMEDIATE.
        connection.isolation_level = None
        # Holds for a file without tables; --migrate applies it to an older one. Elsewhere it would
        # be a write with each connection.
        if connection.execute("PRAGMA auto_vacuum").fetchone()[0] == _AUTO_VACUUM_OFF:
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-65536"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # SQLite has one writer at a time. Waiting for it at the beginning cannot deadlock; an
        # upgrade from reading to writing can.
        _BEGIN.change(connection)

    return engine
