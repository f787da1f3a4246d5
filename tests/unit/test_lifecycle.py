"""The rules of a run, one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from worker.core.status import STATUS_OF_REASON, Status
from worker.fleet.control import lifecycle
from worker.fleet.control.entities import RunPhase, RunRecord
from worker.fleet.control.lifecycle import ATTEMPTS, LeaseCheck, judge

WAITING = RunRecord(
    id="r", order_id="o", number=1, project="p", workflow="w", priority=0, age=1, created=1
)
CLAIMED = lifecycle.claim(
    WAITING, worker="north", incarnation="i", claim_id="c", token="token-000001", expires=50
)
STARTED = lifecycle.start(CLAIMED, 0, 20)
ENDED = lifecycle.complete(STARTED, 1, "success", None, None, 30)


def test_a_claim_leases_a_run_that_waits() -> None:
    assert CLAIMED.phase is RunPhase.CLAIMED and CLAIMED.leased
    assert (CLAIMED.worker, CLAIMED.token, CLAIMED.expires) == ("north", "token-000001", 50)
    assert CLAIMED.status is Status.PENDING, "it is not running before its worker says so"


@pytest.mark.parametrize("run", [CLAIMED, STARTED, ENDED])
def test_a_run_is_claimed_only_where_it_waits(run: RunRecord) -> None:
    with pytest.raises(AssertionError):
        lifecycle.claim(run, worker="w", incarnation="i", claim_id="c", token="t", expires=1)


def test_a_start_makes_a_run_running_and_is_noted_once() -> None:
    assert (STARTED.phase, STARTED.status) == (RunPhase.STARTED, Status.RUNNING)
    assert (STARTED.started, STARTED.reported) == (20, 0)
    assert lifecycle.start(STARTED, 1, 99).started == 20


def test_progress_changes_nothing_but_what_was_heard() -> None:
    assert lifecycle.progress(STARTED, 7) == replace(STARTED, reported=7)


@pytest.mark.parametrize("reason", ["success", "fail", "crash", "kill", "cancel", "exception"])
def test_a_completion_gives_the_status_of_its_reason(reason: str) -> None:
    run = lifecycle.complete(STARTED, 5, reason, "E", "why", 30)
    assert (run.phase, run.status) == (RunPhase.FINAL, STATUS_OF_REASON[reason])
    assert (run.finished, run.reported, run.error_type, run.error_message) == (30, 5, "E", "why")
    assert run.final and not run.leased


def test_a_run_can_end_before_it_started() -> None:
    run = lifecycle.complete(CLAIMED, 0, "exception", "LoadError", "no such adaptor", 30)
    assert (run.status, run.started, run.finished) == (Status.EXCEPTION, None, 30)


def test_an_expired_claim_waits_again_as_the_next_attempt() -> None:
    run = lifecycle.expire(CLAIMED, 60)
    assert run == replace(WAITING, attempt=2)


def test_a_run_that_was_claimed_too_often_is_lost_after_claim() -> None:
    run = WAITING
    for attempt in range(1, ATTEMPTS):
        run = lifecycle.expire(_claimed(run), 60)
        assert (run.phase, run.attempt) == (RunPhase.AVAILABLE, attempt + 1)
    run = lifecycle.expire(_claimed(run), 60)
    assert (run.status, run.error_type, run.finished) == (Status.LOST, "LostAfterClaim", 60)
    assert "5 times" in (run.error_message or "")


def _claimed(run: RunRecord) -> RunRecord:
    return lifecycle.claim(
        run, worker="north", incarnation="i", claim_id="c", token="t", expires=50
    )


@pytest.mark.parametrize("cancelling", [False, True])
def test_a_started_run_that_expires_is_lost_whoever_wanted_its_end(cancelling: bool) -> None:
    run = lifecycle.expire(replace(STARTED, cancelling=cancelling), 60)
    assert (run.status, run.error_type) == (Status.LOST, "LostAfterStart")
    assert "'north'" in (run.error_message or "")


@pytest.mark.parametrize("end", [lifecycle.expire, lifecycle.hand_back])
def test_a_claim_that_was_to_be_cancelled_is_not_given_to_anybody_again(end: object) -> None:
    run = end(replace(CLAIMED, cancelling=True), 60)  # type: ignore[operator]
    assert (run.status, run.error_type) == (Status.CANCELLED, "CancelledError")


def test_a_run_that_is_handed_back_waits_again() -> None:
    assert lifecycle.hand_back(CLAIMED, 60) == replace(WAITING, attempt=2)
    with pytest.raises(AssertionError):
        lifecycle.hand_back(STARTED, 60)


def test_a_cancel_ends_a_run_that_waits_and_marks_one_that_is_leased() -> None:
    assert lifecycle.cancel(WAITING, 60).status is Status.CANCELLED
    for run in (CLAIMED, STARTED):
        assert lifecycle.cancel(run, 60) == replace(run, cancelling=True)
    with pytest.raises(AssertionError):
        lifecycle.cancel(ENDED, 60)


def test_a_will_only_shortens_a_lease_and_a_heartbeat_restores_it() -> None:
    short = lifecycle.shorten(CLAIMED, 40)
    assert short.expires == 40
    assert lifecycle.shorten(short, 45).expires == 40
    assert lifecycle.renew(short, 70).expires == 70


@pytest.mark.parametrize(
    ("run", "worker", "attempt", "token", "verdict"),
    [
        (CLAIMED, "north", 1, "token-000001", LeaseCheck.TAKE),
        (STARTED, "north", 1, "token-000001", LeaseCheck.TAKE),
        (STARTED, "south", 1, "token-000001", LeaseCheck.FORGED),
        (STARTED, "north", 1, "token-000002", LeaseCheck.FORGED),
        (STARTED, "north", 2, "token-000001", LeaseCheck.FORGED),
        (WAITING, "north", 1, "token-000001", LeaseCheck.FORGED),
        (ENDED, "north", 1, "token-000001", LeaseCheck.STALE),
        (ENDED, "south", 1, "token-000001", LeaseCheck.FORGED),
        (replace(CLAIMED, attempt=3), "north", 2, "token-000001", LeaseCheck.STALE),
    ],
)
def test_a_report_is_taken_from_who_holds_the_lease(
    run: RunRecord, worker: str, attempt: int, token: str, verdict: LeaseCheck
) -> None:
    assert judge(run, worker, attempt, token) is verdict
