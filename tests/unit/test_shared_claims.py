"""Claims that several control planes receive: one answers them at once, the others have them too."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.control_plane_harness import (
    TOPICS,
    ControlPlaneHarness,
    FakeWorker,
    Published,
    request,
    submission,
)
from worker.fleet.control.store.store import Store
from worker.fleet.control.unit_of_work import Settings

SHARED = Settings(shared=True)


@pytest.fixture
def deferring(store: Store) -> ControlPlaneHarness:
    """A control plane beside one that answers claims at once."""
    made = ControlPlaneHarness(store, settings=SHARED)
    # A worker's name is checked with its first claim, and that needs a transaction.
    claim(made, "first")
    made.processor.defers_claims = True
    return made


def claim(harness: ControlPlaneHarness, id: str, **fields: Any) -> Published:
    whole = {"claim_id": id, "demand": 1, "incarnation": "i1", **fields}
    return harness.send(FakeWorker(harness).message("claim", **whole))


def test_a_claim_that_another_control_plane_answers_needs_no_transaction(
    deferring: ControlPlaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deferring.store, "transaction", pytest.fail)
    assert claim(deferring, "c").kinds == []


def test_an_order_is_assigned_at_once_to_a_claim_that_was_remembered(
    deferring: ControlPlaneHarness,
) -> None:
    claim(deferring, "c")
    [assignment] = deferring.send(submission("o")).assignments
    assert (assignment.claim_id, len(assignment.runs)) == ("c", 1)


def test_a_claim_is_answered_with_the_next_tick_where_the_other_one_hangs(
    deferring: ControlPlaneHarness,
) -> None:
    deferring.send(submission("a"), submission("b"))
    assert claim(deferring, "c").assignments == []
    [assignment] = deferring.tick().assignments
    assert (assignment.claim_id, len(assignment.runs)) == ("c", 1)


@pytest.mark.parametrize("fields", [{"repeated": True}, {"incarnation": "i2"}])
def test_a_repeated_claim_and_one_of_a_new_process_are_handled_at_once(
    deferring: ControlPlaneHarness, fields: dict[str, Any]
) -> None:
    deferring.send(submission("a"), submission("b"))
    [assignment] = claim(deferring, "c", **fields).assignments
    assert len(assignment.runs) == 1


def test_a_claim_that_the_other_one_has_answered_gets_no_more_runs(
    deferring: ControlPlaneHarness, store: Store
) -> None:
    other = ControlPlaneHarness(store, settings=SHARED)
    other.numbers = deferring.numbers
    deferring.send(submission("a"))
    claim(deferring, "c")
    other.send(submission("b"))
    assert len(claim(other, "c").assignments) == 1
    assert deferring.send(submission("d")).assignments == []


def test_a_claim_after_the_worker_has_connected_again_gets_runs(
    deferring: ControlPlaneHarness,
) -> None:
    worker = FakeWorker(deferring)
    worker.birth()
    states = [worker.message("status", incarnation="i1", online=online) for online in (False, True)]
    last = worker.message("claim", claim_id="c", demand=1, incarnation="i1")
    deferring.send(*states, last)
    assert len(deferring.send(submission("o")).assignments) == 1


def test_a_withdrawn_claim_gets_no_runs(deferring: ControlPlaneHarness) -> None:
    claim(deferring, "c")
    claim(deferring, "c", demand=0)
    assert deferring.send(submission("o")).assignments == []


def test_a_request_of_a_user_with_the_name_of_claims_is_a_request(
    deferring: ControlPlaneHarness,
) -> None:
    message = replace(request("summary"), topic=TOPICS.request("summary", "claim"))
    [reply] = deferring.send(message).replies
    assert reply.error is None


def test_a_control_plane_alone_answers_each_claim(store: Store) -> None:
    harness = ControlPlaneHarness(store)
    harness.processor.defers_claims = True
    claim(harness, "first")
    harness.send(submission("a"), submission("b"))
    assert len(claim(harness, "c").assignments) == 1
