"""Invariants: a row, message or event that breaks one is counted, and not written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import text

from tests.support.control_plane_harness import ControlPlaneHarness, FakeWorker
from worker.fleet.control import lifecycle
from worker.fleet.control.entities import RunPhase, RunRecord
from worker.fleet.control.lifecycle import LifecycleEvent
from worker.fleet.control.row_invariants import problem_of_order, problem_of_run
from worker.fleet.control.store.store import Store
from worker.fleet.messaging.bus import Message, problem_of
from worker.fleet.messaging.worker_protocol import Lease
from worker.fleet.metrics import invariants_metric
from worker.fleet.worker.outbox import Outbox
from worker.util import invariant_checks
from worker.util.invariant_checks import Invariant


@pytest.fixture(autouse=True)
def no_news() -> Iterator[None]:
    invariant_checks.broken.clear()
    invariant_checks.take_news()
    yield
    invariant_checks.broken.clear()
    invariant_checks.take_news()


@pytest.fixture
def harness(sqlite_template: Path, tmp_path: Path) -> Iterator[ControlPlaneHarness]:
    path = tmp_path / "orders.db"
    path.write_bytes(sqlite_template.read_bytes())
    store = Store(f"sqlite:///{path}")
    yield ControlPlaneHarness(store)
    store.close()


def test_a_whole_run_breaks_nothing(harness: ControlPlaneHarness) -> None:
    harness.ended()
    assert not invariant_checks.broken


def test_a_defect_writes_no_row_that_breaks_an_invariant(
    harness: ControlPlaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, lease = harness.claimed()
    before = harness.dump()

    def apply(run: RunRecord, event: LifecycleEvent) -> RunRecord:
        return replace(run, phase=RunPhase.STARTED)

    monkeypatch.setattr(lifecycle, "apply", apply)
    published = worker.request_start(lease)
    assert published.kinds == ["defect"] and not published.starts
    assert harness.dump() == before
    assert invariant_checks.broken[Invariant.ROW_WRITTEN] > 0
    assert "phase started" in invariant_checks.take_news()[0][1]


def test_a_row_that_breaks_an_invariant_is_counted_and_stops_no_other(
    harness: ControlPlaneHarness,
) -> None:
    harness.submit("o")
    with harness.store.transaction() as transaction:
        transaction.connection.execute(text("UPDATE runs SET status = 'success'"))
    harness.submit("p")
    assert len(FakeWorker(harness).claim(5)) == 2
    assert invariant_checks.broken[Invariant.ROW_READ] > 0
    values = invariants_metric().values
    assert values["row_read"] > 0 and values["outbox_written"] == 0


def test_invariants_of_rows(harness: ControlPlaneHarness) -> None:
    harness.started()
    with harness.store.transaction() as transaction:
        run, order = transaction.run("o-1"), transaction.order("o")
    assert run is not None and order is not None
    assert problem_of_run(run) == problem_of_order(order) == ""
    for change in (
        {"phase": RunPhase.FINAL}, {"phase": RunPhase.CLAIMED}, {"finished": 1}, {"token": None},
        {"worker": None}, {"attempt": 0}, {"reported": -2}, {"revision": -1},
    ):  # fmt: skip
        assert "o-1" in problem_of_run(replace(run, **change)), change
    assert problem_of_order(replace(order, runs=0))
    assert problem_of_order(replace(order, last_run=None))


def test_an_acknowledgement_of_what_was_never_sent_is_counted(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "outbox")
    run = box.open(Lease(run_id="r", attempt=1, token="a-token-of-r"))
    run.add(b'{"seq":0}', last=False)
    run.acknowledge(0)
    assert not invariant_checks.broken
    run.acknowledge(7)
    assert invariant_checks.broken == {Invariant.OUTBOX_ACKNOWLEDGED: 1}
    ((_, problem),) = invariant_checks.take_news()
    assert problem == "event 7 of run r, and the last is 0"
    run.close()
    box.close()


@pytest.mark.parametrize(
    ("topic", "size", "problem"),
    [
        ("a/b", 10, ""), ("a/+", 1, "topic"), ("a/#", 1, "topic"), ("", 1, "topic"),
        ("a\0", 1, "topic"), ("a/b", 11, "11 bytes"),
    ],
)  # fmt: skip
def test_messages(topic: str, size: int, problem: str) -> None:
    found = problem_of(Message(topic=topic, payload=b"x" * size), 10)
    assert bool(found) is bool(problem) and problem in found


def test_news_have_a_bound() -> None:
    for number in range(invariant_checks.MAX_NEWS + 5):
        invariant_checks.note(Invariant.ROW_READ, f"problem {number}")
    assert invariant_checks.broken[Invariant.ROW_READ] == invariant_checks.MAX_NEWS + 5
    assert len(invariant_checks.take_news()) == invariant_checks.MAX_NEWS
    assert invariant_checks.take_news() == []
