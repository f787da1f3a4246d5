"""A control plane under the hands of a test: its clock, its messages and its store, no event loop.

The store is SQLite, or PostgreSQL by a server that is started once for the tests.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import create_engine, select, text

from tests.helpers import job, workflow
from worker.control.batch import Refusal, Said, Settings
from worker.control.library import Library
from worker.control.plane import Plane
from worker.control.policy import Policy
from worker.control.store import tables
from worker.control.store.store import Store
from worker.plan.save import plan_of
from worker.transports import wire
from worker.transports.bus import Message
from worker.transports.topics import Topics
from worker.walk.status import STATUSES, Status

TOPICS = Topics()
SECOND = 1_000_000
PLAN = plan_of(workflow(job("fn(state => state)")))


class Bench:
    """A plane, with a word for each thing that clients and workers say."""

    def __init__(
        self,
        store: Store,
        *,
        settings: Settings = Settings(),
        policy: Policy | None = None,
        library: Library | None = None,
    ) -> None:
        self.store = store
        self.now = 1_700_000_000 * SECOND
        self._ids = itertools.count()
        self.heard: list[Message] = []
        self.refusals: list[Refusal] = []
        self.alerts: list[wire.Alert] = []
        self.settings, self.policy, self.library = settings, policy, library
        self.restart()
        self.pass_time(settings.lease_s * 2)

    def restart(self) -> None:
        """A new control plane on the same store."""
        self.plane = Plane(
            self.store,
            topics=TOPICS,
            settings=self.settings,
            policy=self.policy,
            library=self.library,
        )
        self.connect()

    def connect(self) -> None:
        self._take(self.plane.connected(self.now))

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with a tick every half second."""
        for _ in range(max(1, round(seconds * 2))):
            self.now += int(seconds * SECOND / max(1, round(seconds * 2)))
            self._take(self.plane.tick(self.now))

    def _take(self, said: Said) -> Said:
        self.heard += said.messages
        self.refusals += said.refusals
        self.alerts += said.alerts
        return said

    def hear(self, *messages: Message) -> Said:
        """Have the plane handle messages as one batch."""
        self.now += 1000
        return self._take(self.plane.process(messages, self.now))

    # --- clients ----------------------------------------------------------------------------------

    def ask(self, method: str, shape: wire.Shape) -> Any:
        """The answer to a request; a failure as the text ``code: message``."""
        said = self.hear(request(method, wire.encode(shape)))
        [reply] = [one for one in said.messages if one.topic == TOPICS.client("test")]
        found = wire.decode(wire.Reply, reply.payload)
        if found.error is not None:
            return f"{found.error.code}: {found.error.message}"
        return msgspec.json.decode(bytes(found.ok))

    def submit(self, id: str = "", plan: Any = None, **fields: Any) -> Any:
        id = id or f"o{next(self._ids)}"
        given = msgspec.Raw(msgspec.json.encode(plan or PLAN))
        return self.ask("submit", wire.Submit(order_id=id, plan=given, **fields))

    def cancel(self, id: str) -> Any:
        return self.ask("cancel", wire.RunRef(id=id))

    def retry(self, id: str, run_id: str = "", from_step: str | None = None) -> Any:
        wanted = wire.Retry(id=id, run_id=run_id or f"r{next(self._ids)}", from_step=from_step)
        return self.ask("retry", wanted)

    def status(self, id: str) -> str:
        """The status of a run, or of an order's last run."""
        found = self.ask("run", wire.RunRef(id=id))
        return str(found["status"])

    def run(self, id: str) -> dict[str, Any]:
        found = self.ask("run", wire.RunRef(id=id))
        assert isinstance(found, dict)
        return found

    # --- workers ----------------------------------------------------------------------------------

    def claim(self, worker: str = "w", demand: int = 1, id: str = "") -> list[wire.Assigned]:
        claim = wire.Claim(
            claim_id=id or f"c{next(self._ids)}", demand=demand, incarnation=f"{worker}-1"
        )
        said = self.hear(word(worker, "claim", claim))
        return [run for one in assignments(said, worker) for run in one.runs]

    def lease(self, worker: str = "w") -> wire.Lease:
        """Submit an order, and have a worker claim it."""
        self.submit()
        [run] = self.claim(worker)
        return run.lease

    def report(self, lease: wire.Lease, *events: dict[str, Any], worker: str = "w") -> wire.Ack:
        """Report events; the acknowledgement."""
        [ack] = acks(self.hear(report(lease, *events, worker=worker)), worker)
        return ack

    def start(self, lease: wire.Lease, worker: str = "w") -> wire.Ack:
        return self.report(lease, event(lease.run_id, 0, "run:start"), worker=worker)

    def finish(self, lease: wire.Lease, reason: str = "success", worker: str = "w") -> wire.Ack:
        done = event(lease.run_id, 1, "run:complete", reason=reason)
        return self.report(lease, done, worker=worker)

    def beat(self, *leases: wire.Lease, worker: str = "w") -> list[wire.Command]:
        shape = wire.Beat(incarnation=f"{worker}-1", leases=list(leases))
        said = self.hear(word(worker, "beat", shape))
        topic = TOPICS.worker(worker, "cmd")
        return [wire.decode(wire.Command, m.payload) for m in said.messages if m.topic == topic]

    def release(self, *leases: wire.Lease, worker: str = "w") -> None:
        shape = wire.Release(incarnation=f"{worker}-1", leases=list(leases))
        self.hear(word(worker, "release", shape))

    def presence(self, worker: str = "w", incarnation: str = "", *, online: bool) -> None:
        shape = wire.Presence(incarnation=incarnation or f"{worker}-1", online=online, capacity=1)
        self.hear(word(worker, "status", shape))

    # --- what must hold ---------------------------------------------------------------------------

    def states(self, run_id: str) -> list[str]:
        """The statuses that a run was said to have."""
        topic = TOPICS.run(run_id, "state")
        return [
            wire.decode(wire.RunState, m.payload).status for m in self.heard if m.topic == topic
        ]

    def rows(self, table: Any) -> list[dict[str, Any]]:
        with self.store.read() as connection:
            order = list(table.primary_key.columns)
            found = connection.execute(select(table).order_by(*order)).mappings()
            return [dict(row) for row in found]

    def dump(self) -> dict[str, list[dict[str, Any]]]:
        """Everything that is kept."""
        return {name: self.rows(table) for name, table in tables.METADATA.tables.items()}

    def check(self) -> None:
        """What must hold after everything."""
        kept = self.dump()
        runs = {row["id"]: row for row in kept["runs"]}
        for run in runs.values():
            final = STATUSES[Status(run["status"])].final
            assert (run["phase"] == "final") is final is (run["finished"] is not None), run
            assert (run["phase"] in ("claimed", "started")) <= (run["token"] is not None)
        for order in kept["orders"]:
            if order["last_run"] is None:
                assert order["status"] == "rejected"
            else:
                assert order["status"] == runs[order["last_run"]]["status"]
        counted: dict[tuple[str, str], list[int]] = {}
        for run in runs.values():
            lane = counted.setdefault((run["project"], run["workflow"]), [0, 0])
            lane[0] += run["phase"] == "available"
            lane[1] += run["phase"] in ("claimed", "started")
        lanes = {
            (lane["project"], lane["workflow"]): [lane["available"], lane["leased"]]
            for lane in kept["lanes"]
            if (lane["project"], lane["workflow"]) in counted
        }
        assert lanes == counted
        alarming = {run["id"] for run in runs.values() if run["status"] in ("exception", "lost")}
        assert {row["run_id"] for row in kept["alerts"]} == alarming
        assert not [one for one in self.refusals if one.kind == "defect"]


def request(method: str, payload: bytes) -> Message:
    return Message(
        topic=TOPICS.request(method),
        payload=payload,
        reply_to=TOPICS.client("test"),
        correlation=b"x",
    )


def word(worker: str, what: str, shape: wire.Shape) -> Message:
    return Message(topic=TOPICS.worker(worker, what), payload=wire.encode(shape))


def report(lease: wire.Lease, *events: dict[str, Any], worker: str = "w") -> Message:
    raw = [msgspec.Raw(msgspec.json.encode(one)) for one in events]
    shape = wire.Reports(number=1, runs=[wire.RunReport(lease=lease, events=raw)])
    return word(worker, "reports", shape)


def event(run_id: str, seq: int, type: str, **fields: Any) -> dict[str, Any]:
    return {"type": type, "run_id": run_id, "seq": seq, "timestamp": 1, **fields}


def assignments(said: Said, worker: str) -> list[wire.Assignment]:
    return [one for one in _responses(said, worker) if isinstance(one, wire.Assignment)]


def acks(said: Said, worker: str) -> list[wire.Ack]:
    return [a for one in _responses(said, worker) if isinstance(one, wire.Acks) for a in one.acks]


def _responses(said: Said, worker: str) -> list[Any]:
    topic = TOPICS.worker(worker, "rsp")
    shape: Any = wire.Response
    return [wire.decode(shape, m.payload) for m in said.messages if m.topic == topic]


# --- PostgreSQL -----------------------------------------------------------------------------------


def binaries() -> Path | None:
    """Where PostgreSQL's own programs are."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    on_path = shutil.which("postgres")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


@functools.cache
def server() -> str:
    """The URL of a server for this process's tests; it ends with the process."""
    import atexit

    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    if os.geteuid() == 0:
        shutil.chown(folder, user)
    as_user: dict[str, Any] = {"user": user} if os.geteuid() == 0 else {}
    programs = binaries()
    assert programs is not None
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    initdb = [programs / "initdb", "-D", folder / "data", "-A", "trust", "-U", "test", "-N"]
    subprocess.run(initdb, check=True, **quiet, **as_user)
    options = ["-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"]
    process = subprocess.Popen(
        [programs / "postgres", "-D", folder / "data", *options], **quiet, **as_user
    )

    def end() -> None:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    url = f"postgresql+psycopg://test@/postgres?host={folder}"
    _until_ready(url, process)
    return url


def _until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    import time

    from sqlalchemy.exc import OperationalError
    from sqlalchemy.pool import NullPool

    engine = create_engine(url, poolclass=NullPool)
    for _ in range(500):
        with contextlib.suppress(OperationalError), engine.connect():
            return
        assert process.poll() is None, "PostgreSQL did not start"
        time.sleep(0.02)
    raise AssertionError("PostgreSQL does not answer")


_NAMES = itertools.count()


@contextlib.contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    """The URL of a fresh database."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/orders.db"
        return
    name = f"test{os.getpid()}_{next(_NAMES)}"
    admin = create_engine(server(), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield server().replace("/postgres?", f"/{name}?")
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


def kinds() -> Sequence[str]:
    """The databases that tests run against."""
    return ("sqlite", "postgresql")
