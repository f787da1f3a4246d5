"""The lifecycle of a run: each transition, and that nothing else is possible."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support.command import ROOT
from worker.core.status import STATUSES, Status
from worker.fleet.control.entities import RunPhase, RunRecord
from worker.fleet.control.lifecycle import (
    ATTEMPTS,
    TABLE,
    CancelRequested,
    Claimed,
    Completed,
    DeadlinePassed,
    Due,
    Expired,
    HandedBack,
    IllegalTransition,
    LeaseCheck,
    LifecycleEvent,
    Postponed,
    Progressed,
    Renewed,
    RunStarted,
    StartConfirmed,
    WorkerDisconnected,
    apply,
    check_lease,
)

CLAIM = Claimed(
    worker="north", incarnation="i", claim_id="c", token="token-000001", expires=50, at=10
)
WAITING = RunRecord(
    id="r", order_id="o", number=1, project="p", workflow="w", priority=0, age=1, created=1
)
CLAIMED = apply(WAITING, CLAIM)
STARTED = apply(CLAIMED, RunStarted(seq=0, at=20))
DELAYED = replace(WAITING, phase=RunPhase.DELAYED, expires=40)
ENDED = apply(STARTED, Completed(seq=1, at=30, status=Status.SUCCESS))


# --- transitions ----------------------------------------------------------------------------------


def test_a_claim_leases_a_waiting_run() -> None:
    assert CLAIMED.phase is RunPhase.CLAIMED and CLAIMED.leased
    assert (CLAIMED.worker, CLAIMED.token, CLAIMED.expires) == ("north", "token-000001", 50)
    assert (CLAIMED.incarnation, CLAIMED.claim_id, CLAIMED.assigned) == ("i", "c", 10)
    assert CLAIMED.status is Status.PENDING, "it is not running before its worker reports so"


def test_a_start_makes_a_run_running() -> None:
    assert (STARTED.phase, STARTED.status) == (RunPhase.STARTED, Status.RUNNING)
    assert (STARTED.started, STARTED.reported) == (20, 0)


def test_progress_changes_the_number_of_the_last_event_alone() -> None:
    assert apply(STARTED, Progressed(seq=7)) == replace(STARTED, reported=7)


@pytest.mark.parametrize("status", [status for status, row in STATUSES.items() if row.final])
def test_a_completion_ends_a_run_with_its_status(status: Status) -> None:
    event = Completed(seq=5, at=30, status=status, error_type="E", error_message="why")
    run = apply(STARTED, event)
    assert (run.phase, run.status) == (RunPhase.FINAL, status)
    assert (run.finished, run.reported, run.error_type, run.error_message) == (30, 5, "E", "why")
    assert run.final and not run.leased


def test_a_run_can_end_before_it_started() -> None:
    run = apply(CLAIMED, Completed(seq=0, at=30, status=Status.EXCEPTION))
    assert (run.status, run.started, run.finished) == (Status.EXCEPTION, None, 30)


def test_an_expired_claim_waits_again_as_the_next_attempt() -> None:
    assert apply(CLAIMED, Expired(at=60)) == replace(WAITING, attempt=2)


def test_a_run_that_was_claimed_too_often_is_lost_after_claim() -> None:
    run = WAITING
    for attempt in range(1, ATTEMPTS):
        run = apply(apply(run, CLAIM), Expired(at=60))
        assert (run.phase, run.attempt) == (RunPhase.AVAILABLE, attempt + 1)
    run = apply(apply(run, CLAIM), Expired(at=60))
    assert (run.status, run.error_type, run.finished) == (Status.LOST, "LostAfterClaim", 60)
    assert "5 times" in (run.error_message or "")


@pytest.mark.parametrize("cancelling", [False, True])
def test_a_started_run_that_expires_is_lost_even_if_it_was_cancelled(cancelling: bool) -> None:
    run = apply(replace(STARTED, cancelling=cancelling), Expired(at=60))
    assert (run.status, run.error_type) == (Status.LOST, "LostAfterStart")
    assert "'north'" in (run.error_message or "")


@pytest.mark.parametrize("event", [Expired(at=60), HandedBack(at=60)])
def test_a_cancelled_claim_is_not_assigned_again(event: LifecycleEvent) -> None:
    run = apply(replace(CLAIMED, cancelling=True, attempt=ATTEMPTS), event)
    assert (run.status, run.error_type, run.finished) == (Status.CANCELLED, "CancelledError", 60)


def test_a_run_that_is_handed_back_waits_again_as_the_same_attempt() -> None:
    assert apply(CLAIMED, HandedBack(at=60)) == WAITING


def test_a_confirmed_start_makes_a_run_running_and_its_first_event_has_the_time() -> None:
    run = apply(CLAIMED, StartConfirmed(at=15, expires=90))
    assert (run.phase, run.status, run.started) == (RunPhase.STARTED, Status.RUNNING, 15)
    assert (run.reported, run.expires) == (-1, 90)
    assert apply(run, RunStarted(seq=0, at=20)) == replace(STARTED, expires=90)
    assert apply(run, Expired(at=100)).error_type == "LostAfterStart"


SECOND_US = 1_000_000


@pytest.mark.parametrize(
    ("ahead_us", "skew"),
    [
        (0, None),
        (SECOND_US - 1, None),
        (SECOND_US, SECOND_US),
        (1 - SECOND_US, None),
        (-SECOND_US, -SECOND_US),
    ],
)
def test_a_first_event_shows_how_far_the_clock_of_its_worker_is_off(
    ahead_us: int, skew: int | None
) -> None:
    run = apply(CLAIMED, StartConfirmed(at=5 * SECOND_US, expires=90))
    started = apply(run, RunStarted(seq=0, at=5 * SECOND_US + ahead_us))
    assert started.skew == skew
    assert STARTED.skew is None, "the time of its start was not requested"


def test_a_delayed_run_is_queued_when_it_is_due_and_not_before() -> None:
    later = apply(DELAYED, Postponed(until=70))
    assert later == replace(DELAYED, expires=70)
    assert apply(later, Due()) == WAITING
    with pytest.raises(IllegalTransition):
        apply(DELAYED, CLAIM)


@pytest.mark.parametrize("run", [DELAYED, WAITING, CLAIMED])
def test_a_run_that_has_not_started_by_its_deadline_is_rejected(run: RunRecord) -> None:
    rejected = apply(run, DeadlinePassed(at=60))
    assert (rejected.phase, rejected.status) == (RunPhase.FINAL, Status.REJECTED)
    assert (rejected.finished, rejected.error_type) == (60, None)
    assert rejected.error_message == "the run had not started by its deadline"


@pytest.mark.parametrize("run", [DELAYED, WAITING])
@pytest.mark.parametrize(
    ("reason", "message"),
    [("", "the run was cancelled"), ("order b replaced it", "order b replaced it")],
)
def test_the_error_of_a_cancelled_run_has_the_reason(
    run: RunRecord, reason: str, message: str
) -> None:
    cancelled = apply(run, CancelRequested(at=60, reason=reason))
    assert (cancelled.status, cancelled.finished) == (Status.CANCELLED, 60)
    assert (cancelled.error_type, cancelled.error_message) == ("CancelledError", message)


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("", "worker 'north' sent nothing more after the run had started"),
        ("was stopped", "worker 'north' was stopped"),
    ],
)
def test_the_error_of_a_lost_run_has_the_reason(reason: str, message: str) -> None:
    assert apply(STARTED, Expired(at=60, reason=reason)).error_message == message


def test_a_cancel_ends_a_waiting_run_and_marks_a_leased_one() -> None:
    cancel = CancelRequested(at=60)
    assert apply(WAITING, cancel).status is Status.CANCELLED
    for run in (CLAIMED, STARTED):
        assert apply(run, cancel) == replace(run, cancelling=True)


@pytest.mark.parametrize("run", [CLAIMED, STARTED])
def test_a_disconnect_shortens_a_lease_and_a_heartbeat_restores_it(run: RunRecord) -> None:
    short = apply(run, WorkerDisconnected(expires=40))
    assert short.expires == 40
    assert apply(short, WorkerDisconnected(expires=45)).expires == 40
    assert apply(short, Renewed(expires=70)) == replace(run, expires=70)


# --- the table ------------------------------------------------------------------------------------

times = st.integers(0, 10**6)
texts = st.none() | st.text(max_size=5)
ids = st.text("abc", min_size=1, max_size=5)
events: st.SearchStrategy[LifecycleEvent] = st.one_of(
    st.builds(
        Claimed, worker=ids, incarnation=ids, claim_id=ids, token=ids, expires=times, at=times
    ),
    st.builds(StartConfirmed, at=times, expires=times),
    st.builds(RunStarted, seq=times, at=times),
    st.builds(Progressed, seq=times),
    st.builds(
        Completed,
        seq=times,
        at=times,
        status=st.sampled_from([status for status, row in STATUSES.items() if row.final]),
        error_type=texts,
        error_message=texts,
    ),
    st.builds(Renewed, expires=times),
    st.builds(WorkerDisconnected, expires=times),
    st.builds(Expired, at=times),
    st.builds(HandedBack, at=times),
    st.builds(CancelRequested, at=times),
    st.builds(Due),
    st.builds(Postponed, until=times),
    st.builds(DeadlinePassed, at=times),
)
runs = st.builds(
    replace,
    st.sampled_from([DELAYED, WAITING, CLAIMED, STARTED, ENDED]),
    attempt=st.integers(1, ATTEMPTS),
    cancelling=st.booleans(),
)
LEGAL = {(row.source, row.event) for row in TABLE}


@given(run=runs, event=events)
def test_any_event_is_in_the_table_or_raises_and_changes_nothing(
    run: RunRecord, event: LifecycleEvent
) -> None:
    before = replace(run)
    if (run.phase, type(event)) in LEGAL:
        after = apply(run, event)
        targets = {
            row.target for row in TABLE if (row.source, row.event) == (run.phase, type(event))
        }
        assert after.phase in targets
        assert (after.phase is RunPhase.FINAL) is after.final
        assert after.leased is (after.token is not None) or after.final
        assert (after.id, after.order_id, after.number) == (run.id, run.order_id, run.number)
    else:
        with pytest.raises(IllegalTransition) as caught:
            apply(run, event)
        for part in (run.id, run.phase.value, type(event).__name__):
            assert part in str(caught.value)
    assert run == before


@given(events=st.lists(events, max_size=30))
def test_a_final_run_accepts_nothing_whatever_led_to_it(events: list[LifecycleEvent]) -> None:
    run, final = WAITING, False
    for event in events:
        try:
            run = apply(run, event)
            assert not final, "a final run has changed"
        except IllegalTransition:
            pass
        final = run.final


def test_no_row_of_the_table_leaves_the_final_phase_or_hides_another() -> None:
    assert all(row.source is not RunPhase.FINAL for row in TABLE)
    unguarded = [(row.source, row.event) for row in TABLE if row.guard is None]
    assert len(set(unguarded)) == len(unguarded)
    assert set(unguarded) == LEGAL, "each pair has a row without a guard"
    for index, row in enumerate(TABLE):
        later = [(other.source, other.event) for other in TABLE[index + 1 :]]
        assert row.guard is not None or (row.source, row.event) not in later


def test_an_illegal_transition_names_the_event_the_run_and_its_phase() -> None:
    with pytest.raises(IllegalTransition) as caught:
        apply(ENDED, Progressed(seq=2))
    assert str(caught.value) == "Progressed is not allowed: run r is final"
    assert (caught.value.run, caught.value.event) == (ENDED, Progressed(seq=2))


@pytest.mark.slow
def test_illegal_transitions_raise_without_assertions_too() -> None:
    code = (
        "from tests.unit.test_lifecycle import *\n"
        "for event in (RunStarted(seq=2, at=1), Completed(seq=2, at=1, status=Status.SUCCESS)):\n"
        "    try: apply(ENDED, event)\n"
        "    except IllegalTransition as error: print(error)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-O", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines() == [
        "RunStarted is not allowed: run r is final",
        "Completed is not allowed: run r is final",
    ]


# --- leases ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("run", "worker", "attempt", "token", "check"),
    [
        (CLAIMED, "north", 1, "token-000001", LeaseCheck.VALID),
        (STARTED, "north", 1, "token-000001", LeaseCheck.VALID),
        (STARTED, "south", 1, "token-000001", LeaseCheck.FORGED),
        (STARTED, "north", 1, "token-000002", LeaseCheck.FORGED),
        (STARTED, "north", 2, "token-000001", LeaseCheck.FORGED),
        (WAITING, "north", 1, "token-000001", LeaseCheck.FORGED),
        (ENDED, "north", 1, "token-000001", LeaseCheck.STALE),
        (ENDED, "south", 1, "token-000001", LeaseCheck.FORGED),
        (replace(CLAIMED, attempt=3), "north", 2, "token-000001", LeaseCheck.STALE),
    ],
)
def test_a_report_is_accepted_from_the_holder_of_the_lease(
    run: RunRecord, worker: str, attempt: int, token: str, check: LeaseCheck
) -> None:
    assert check_lease(run, worker, attempt, token) is check
