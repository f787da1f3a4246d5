"""The scenarios of public suites for job queues, on PostgreSQL: each order is done once, none is lost.

Those of time (sustained load, bursts under chaos) are also in `make soak`, `make chaos` and
`make bench`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import psycopg
import pytest

from tests.support.control_plane_harness import (
    ControlPlaneHarness,
    FakeWorker,
    event,
    submission,
    violations,
)
from tests.support.databases import Postgres, postgres_binaries
from worker.fleet.control.store.store import Store, StoreUnavailable

pytestmark = [
    pytest.mark.slow,
    pytest.mark.database,
    pytest.mark.xdist_group("postgresql"),
]
T = TypeVar("T")
# The first attempt notices that its connection has ended; the store then makes another one.
MAX_ATTEMPTS = 5


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """Provide a server of its own, which may crash: what was committed is on its disk."""
    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server is installed (apt-get install postgresql)")
    with Postgres(binaries, synchronous_commit=True) as started:
        yield started


class Queue:
    """A control plane on a database of its own, with a worker that repeats what was not answered."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.harness = ControlPlaneHarness(store)
        self.worker = FakeWorker(self.harness)
        self.outages = 0

    def until_available(self, call: Callable[[], T]) -> T:
        """Make a call again while the database is away, as the control plane does."""
        for _ in range(MAX_ATTEMPTS):
            try:
                return call()
            except StoreUnavailable:
                self.outages += 1
        return call()

    def do(self, name: str, disturb: Callable[[], None] = lambda: None) -> None:
        """Do an order from its submission to its end, with a disturbance before each message."""
        message = submission(name)
        self._disturbed(disturb, lambda: self.harness.send(message))
        (run,) = self._disturbed(disturb, lambda: self.worker.claim(1, f"claim-{name}"))
        start = event(run.lease.run_id, 0, "run:start")
        end = event(run.lease.run_id, 1, "run:complete", reason="success")
        self._disturbed(disturb, lambda: self.worker.report(run.lease, start))
        self._disturbed(disturb, lambda: self.worker.report(run.lease, start, end))

    def _disturbed(self, disturb: Callable[[], None], call: Callable[[], T]) -> T:
        disturb()
        return self.until_available(call)

    def check(self, count: int) -> None:
        """Check that so many orders have succeeded, each with one run that was claimed once."""
        orders = self.harness.call("orders", limit=1000)
        listed = orders["rows"] if isinstance(orders, dict) else orders
        assert [(one["status"], one["runs"]) for one in listed] == [("success", 1)] * count
        with self.store.read() as connection:
            assert list(violations(connection)) == []


@pytest.fixture
def url(server: Postgres) -> str:
    return server.empty()


@pytest.fixture
def queue(url: str) -> Iterator[Queue]:
    store = Store(url)
    store.migrate()
    yield Queue(store)
    store.close()


@pytest.mark.parametrize("ending", ["restart", "crash", "kill_backends"])
def test_the_server_ends_before_each_message(queue: Queue, server: Postgres, ending: str) -> None:
    """PostgreSQL restart, crash recovery, backends killed, repeated kills."""
    endings = {
        "restart": lambda: server.restart(0.0),
        "crash": server.crash,
        "kill_backends": server.kill_backends,
    }
    for name in ("a", "b"):
        queue.do(name, endings[ending])
    queue.check(2)


def test_the_server_crashes_before_a_control_plane_starts_again(
    queue: Queue, server: Postgres
) -> None:
    queue.do("a")
    queue.until_available(lambda: queue.harness.submit("b"))
    (run,) = queue.worker.claim(1, "claim-b")
    queue.worker.start(run.lease)
    server.crash()
    queue.until_available(queue.harness.restart)
    queue.until_available(lambda: queue.worker.report(
        run.lease, event(run.lease.run_id, 1, "run:complete", reason="success")
    ))  # fmt: skip
    queue.check(2)


def test_no_connection_is_left(queue: Queue, server: Postgres, url: str) -> None:
    """Pool exhausted: others have all connections that the server allows."""
    queue.do("a")
    with contextlib.ExitStack() as others:
        # This one's own too, which the others then take.
        server.kill_backends()
        with pytest.raises(psycopg.OperationalError, match="too many clients"):
            while True:
                others.enter_context(contextlib.closing(psycopg.connect(url)))
        with pytest.raises(StoreUnavailable, match="too many clients"):
            queue.until_available(lambda: queue.harness.submit("b"))
    queue.until_available(lambda: queue.harness.submit("b"))
    queue.do("c")
    (run,) = queue.worker.claim(1, "claim-b")
    queue.worker.start(run.lease)
    queue.worker.finish(run.lease)
    queue.check(3)


def test_a_transaction_is_left_open(queue: Queue, url: str) -> None:
    """It sees the database as it was, so nothing of what is deleted meanwhile can be reused."""
    queue.do("before")
    with psycopg.connect(url) as other:
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        assert other.execute("SELECT count(*) FROM runs").fetchone() == (1,)
        for number in range(300):
            queue.do(f"o{number}")
        assert other.execute("SELECT count(*) FROM runs").fetchone() == (1,)
        assert queue.outages == 0
    queue.check(301)


def test_readers_are_active(queue: Queue, url: str) -> None:
    """They read whole tables all the time, over connections of their own."""
    stop, failures, reads = threading.Event(), list[Exception](), [0, 0, 0]

    def read(place: int) -> None:
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                while not stop.is_set():
                    connection.execute("SELECT * FROM runs JOIN orders ON true").fetchall()
                    reads[place] += 1
        except psycopg.Error as error:
            failures.append(error)

    readers = [threading.Thread(target=read, args=(place,)) for place in range(len(reads))]
    for reader in readers:
        reader.start()
    try:
        for number in range(40):
            queue.do(f"o{number}")
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert failures == [] and min(reads) > 0 and queue.outages == 0
    queue.check(40)


def test_a_burst_of_orders_in_one_batch(queue: Queue) -> None:
    """A thousand at once, of two priorities, and workers that claim by hundreds."""
    count = 1000
    names = [f"o{number}" for number in range(count)]
    queue.harness.send(
        *(submission(name, priority=number % 2) for number, name in enumerate(names))
    )
    order: list[str] = []
    while runs := queue.worker.claim(100):
        order += [run.order_id for run in runs]
        starts = [_report(run, 0, "run:start") for run in runs]
        ends = [_report(run, 1, "run:complete", reason="success") for run in runs]
        for reports in (starts, ends):
            queue.worker.send("reports", number=1, runs=reports)
    assert order == names[1::2] + names[::2], "by priority, then by age"
    queue.check(count)


def _report(run: Any, seq: int, type: str, **fields: Any) -> dict[str, Any]:
    return {"lease": run.lease, "events": [event(run.lease.run_id, seq, type, **fields)]}
