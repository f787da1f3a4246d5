"""Databases for tests: a new SQLite file, or an empty PostgreSQL database.

Creating a PostgreSQL database takes longer than most tests, so the tests of a process share one,
whose tables are emptied for each.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self, TypeVar

import psycopg
import pytest
from sqlalchemy import make_url

from worker.fleet.control.store import tables
from worker.fleet.control.store.store import Store

StoreKind = TypeVar("StoreKind", bound=Store)
START_S = 60.0
UNSAFE_SETTINGS = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "autovacuum=off",
    "deadlock_timeout=50ms",
)
# A lock that is still held is a mistake of a test, which fails instead of waiting for ever.
_CLEAR = "SET lock_timeout = '5s'; " + "; ".join(
    f"DELETE FROM {table.name}" for table in reversed(tables.METADATA.sorted_tables)
)


class Postgres:
    """A PostgreSQL server as a child process, on a socket in a folder of its own."""

    def __init__(self, binaries: Path, *, synchronous_commit: bool = False) -> None:
        self._binaries = binaries
        self._synchronous_commit = synchronous_commit
        # A socket's path has to be short, and its folder has to belong to who runs the server.
        self._folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        self._user = _user()
        self._last = 0

    def __enter__(self) -> Self:
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        made = self._command("initdb", "-A", "trust", "-U", "worker", "-E", "UTF8",
                             "--locale=C", "--no-sync", "-D", str(self._folder / "data"))  # fmt: skip
        subprocess.run(made, check=True, capture_output=True, cwd="/", user=self._user)
        self._start()
        try:
            self._admin = self._wait()
            self.url = self.empty()
            self.store = Store(self.url)
            self.store.migrate()
            self._inside = self._connect(f"test{self._last}")
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *reason: object) -> None:
        self.store.close()
        self._inside.close()
        self._admin.close()
        self._stop()

    def _start(self) -> None:
        settings = [part for setting in self._settings() for part in ("-c", setting)]
        command = self._command("postgres", "-D", str(self._folder / "data"), "-k",
                                str(self._folder), "-c", "listen_addresses=", *settings)  # fmt: skip
        self._process = subprocess.Popen(
            command,
            cwd="/",
            user=self._user,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _settings(self) -> list[str]:
        sync = "synchronous_commit=off"
        return [name for name in UNSAFE_SETTINGS if name != sync or not self._synchronous_commit]

    def restart(self, pause_s: float) -> None:
        """End the server, with all its connections, and start it again after a pause."""
        self._end_and_start(signal.SIGINT, pause_s)

    def crash(self) -> None:
        """End the server without a checkpoint, and start it: it recovers from its log."""
        self._end_and_start(signal.SIGQUIT, 0.0)

    def _end_and_start(self, ending: signal.Signals, pause_s: float) -> None:
        self._admin.close()
        self._process.send_signal(ending)
        self._process.wait(60)
        time.sleep(pause_s)
        self._start()
        self._admin = self._wait()

    def kill_backends(self) -> None:
        """End all other connections of the server."""
        self._admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )

    def _stop(self) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def clear(self) -> str:
        """Empty all tables of the shared database. Return its URL."""
        self._inside.execute(_CLEAR)
        return self.url

    def empty(self) -> str:
        """Return the URL of a new database without tables."""
        self._last += 1
        self._admin.execute(f"CREATE DATABASE test{self._last}")
        return f"postgresql://worker@/test{self._last}?host={self._folder}"

    def _connect(self, database: str) -> psycopg.Connection:
        return psycopg.connect(
            host=str(self._folder), user="worker", dbname=database, autocommit=True
        )

    def _command(self, name: str, *arguments: str) -> list[str]:
        return [str(self._binaries / name), *arguments]

    def _wait(self) -> psycopg.Connection:
        deadline = time.monotonic() + START_S
        while True:
            try:
                return self._connect("postgres")
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


def _user() -> str | None:
    """Return a user to run the server as: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    names = {user.pw_name for user in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in names)


def postgres_binaries() -> Path | None:
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in (*installed, *map(Path, os.get_exec_path())):
        if all((folder / name).exists() for name in ("initdb", "postgres")):
            return folder
    return None


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Provide the server of this test process."""
    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server is installed (apt-get install postgresql)")
    with Postgres(binaries) as server:
        yield server


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a SQLite file with empty tables."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    store = Store(f"sqlite:///{path}")
    store.migrate()
    store.close()
    return path


# All tests of a group run in one process under pytest-xdist: so there is one server.
KINDS = [
    "sqlite",
    pytest.param(
        "postgresql",
        marks=[pytest.mark.database, pytest.mark.xdist_group("postgresql"), pytest.mark.slow],
    ),
]


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Provide the URL of a database with empty tables, of both kinds in turn."""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        return server.clear()
    template: Path = request.getfixturevalue("sqlite_template")
    copy = tmp_path / "orders.db"
    shutil.copy(template, copy)
    return f"sqlite:///{copy}"


@pytest.fixture(params=KINDS)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Provide the URL of a new database without tables, of both kinds in turn."""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        return server.empty()
    return f"sqlite:///{tmp_path / 'orders.db'}"


@pytest.fixture
def store(url: str, request: pytest.FixtureRequest) -> Iterator[Store]:
    """Provide a store on an empty database, of both kinds in turn."""
    if is_postgresql(url):
        yield request.getfixturevalue("postgres").store
        return
    opened = Store(url)
    yield opened
    opened.close()


def is_postgresql(url: str) -> bool:
    return make_url(url).get_backend_name() == "postgresql"


@contextlib.contextmanager
def memory_store(kind: type[StoreKind]) -> Iterator[StoreKind]:
    """A store in memory with its tables."""
    store = kind("sqlite://")
    store.migrate()
    try:
        yield store
    finally:
        store.close()
