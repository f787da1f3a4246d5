"""Runs that a worker has claimed and not started: requests, repetitions, what goes back."""

from __future__ import annotations

import pytest

from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.worker_protocol import AssignedRun, Attempt, Lease, Starts, attempt_of
from worker.fleet.worker.claimed_runs import MAX_HOLD_S, REPEAT_START_S, ClaimedRuns


def assigned(id: str, token: str = "token-000001") -> AssignedRun:
    return AssignedRun(
        lease=Lease(run_id=id, attempt=1, token=token),
        lease_s=10.0, payload_limit=10**6, order_id="o", plan_id="p",
        plan=wire.NULL, input=wire.NULL, options=wire.RunOptions(),
    )  # fmt: skip


def claimed(*ids: str, capacity: int = 2) -> ClaimedRuns:
    runs = ClaimedRuns(capacity)
    for id in ids:
        runs.add(assigned(id), 0.0)
    return runs


def ids(leases: list[Lease]) -> list[str]:
    return [lease.run_id for lease in leases]


def starts(*ids: str, refused: tuple[str, ...] = ()) -> Starts:
    def attempts(of: tuple[str, ...]) -> list[Attempt]:
        return [Attempt(run_id=id, attempt=1) for id in of]

    return Starts(started=attempts(ids), refused=attempts(refused))


def test_a_start_is_requested_for_each_free_slot_in_order() -> None:
    runs = claimed("a", "b", "c")
    assert ids(runs.due(2, 0.0)) == ["a", "b"] and runs.requested == 2
    assert runs.due(0, 0.1) == []
    assert [run.lease.run_id for run in runs.answer(starts("a", "b"), 0.1)] == ["a", "b"]
    assert len(runs) == 1 and runs.requested == 0


def test_a_request_without_a_response_is_repeated_with_its_token() -> None:
    runs = claimed("a")
    first = runs.due(1, 0.0)
    assert runs.due(1, REPEAT_START_S) == []
    assert runs.due(1, REPEAT_START_S + 0.1) == first
    assert runs.due(0, REPEAT_START_S + 0.2, repeat=True) == first, "after a reconnect"


def test_what_is_refused_is_not_executed_and_a_second_response_starts_nothing() -> None:
    runs = claimed("a", "b")
    runs.due(2, 0.0)
    assert ids([run.lease for run in runs.answer(starts("b", refused=("a",)), 0.1)]) == ["b"]
    assert len(runs) == 0
    assert runs.answer(starts("a", "b"), 0.2) == []


def test_what_waits_too_long_goes_back_unless_its_start_is_requested() -> None:
    runs = claimed("a", "b")
    runs.due(1, 0.0)
    assert runs.hand_back(MAX_HOLD_S) == []
    assert ids(runs.hand_back(MAX_HOLD_S + 0.1)) == ["b"]
    assert ids(runs.leases) == ["a"]
    assert runs.hand_back(0.0, all=True) == []


@pytest.mark.parametrize(
    ("run_s", "round_trip_s", "ahead"),
    [(0.01, 0.01, 4), (0.04, 0.01, 1), (0.02, 0.01, 2), (5.0, 0.01, 0), (0.001, 1.0, 4)],
)
def test_as_many_are_claimed_ahead_as_end_during_a_round_trip(
    run_s: float, round_trip_s: float, ahead: int
) -> None:
    runs = ClaimedRuns(4)
    assert runs.ahead == 0
    for number in range(60):
        runs.add(assigned(f"r{number}"), 0.0)
        runs.due(1, 0.0)
        runs.answer(starts(f"r{number}"), round_trip_s)
        runs.ended(run_s)
    assert runs.ahead == ahead
    runs.add(assigned("late"), 0.0)
    runs.hand_back(MAX_HOLD_S + 1)
    assert runs.ahead <= round(4 * round_trip_s)


def test_a_response_about_an_earlier_lease_of_the_same_attempt_is_ignored() -> None:
    """A run that was handed back keeps its attempt, so only the token tells its leases apart."""
    runs = ClaimedRuns(1)
    present = assigned("a", "the-present-token")
    runs.add(present, 0.0)
    older = Attempt(run_id="a", attempt=1, token="an-older-token")
    runs.due(1, 0.0)
    assert runs.answer(Starts(refused=[older]), 0.1) == [] and len(runs) == 1
    assert runs.answer(Starts(started=[older]), 0.1) == [] and len(runs) == 1
    assert runs.answer(Starts(started=[attempt_of(present.lease)]), 0.1) == [present]
