"""Requests that read wait for no other control plane, and no other one for them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.control_plane_harness import ControlPlaneHarness, event, request, submission
from tests.support.databases import Postgres
from worker.fleet.control.client_queries import READING
from worker.fleet.control.client_requests import RequestHandler
from worker.fleet.control.store.store import Store

CALLS = {
    "order": {"order_id": "o"}, "run": {"id": "o-1"}, "input": {"id": "o-1"},
    "events": {"run_id": "o-1"}, "recorded": {"run_id": "o-1"},
    "dataclip": {"run_id": "o-1", "dataclip_id": "c"},
}  # fmt: skip


@pytest.mark.database
@pytest.mark.slow
@pytest.mark.xdist_group("postgresql")
@pytest.mark.parametrize("method", sorted(READING))
def test_a_request_that_reads_waits_for_no_lock(postgres: Postgres, method: str) -> None:
    store = Store(f"{postgres.clear()}&options=-c%20lock_timeout%3D3s")
    harness = ControlPlaneHarness(store)
    worker, lease = harness.started()
    complete = event("o-1", 1, "step:complete", output_dataclip_id="c", output_dataclip={})
    worker.reports(lease, complete)
    harness.send(worker.reports(lease, complete))
    with postgres.store.transaction() as other:
        other.load_runs(["o-1"])
        other.load_orders(["o"])
        assert harness.call(method, **CALLS.get(method, {})) is not None
    store.close()


def test_requests_that_read_do_not_prolong_the_transaction_of_changes(
    harness: ControlPlaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    transactions: list[list[str]] = []
    handle = RequestHandler.handle
    begin = Store.transaction

    def note_transaction(store: Store) -> Any:
        transactions.append([])
        return begin(store)

    def note_request(handler: Any, uow: Any, client: str, method: str, content: Any) -> Any:
        transactions[-1].append(method)
        return handle(handler, uow, client, method, content)

    monkeypatch.setattr(Store, "transaction", note_transaction)
    monkeypatch.setattr(RequestHandler, "handle", note_request)
    harness.send(request("orders"), submission("o"), request("summary"), submission("p"))
    assert [each for each in transactions if each] == [["submit", "submit"], ["orders", "summary"]]


def test_a_request_that_reads_sees_what_its_batch_has_changed(
    harness: ControlPlaneHarness,
) -> None:
    harness.submit("o")
    with harness.store.transaction() as transaction:
        with transaction.reading():
            before = transaction.run("o-1")
            assert transaction.run("none") is None
        run = transaction.run("o-1")
        assert run is not None and run == before
        transaction.put_run(run)
        with transaction.reading():
            assert transaction.run("o-1") is run
