"""The table of statuses, row by row against OpenFn's "Work Order & Run Status Codes"."""

from __future__ import annotations

import pytest

from worker.core.outcome import StepError
from worker.core.status import (
    ERROR_TYPES,
    STATUS_OF_REASON,
    STATUSES,
    Status,
    aborts,
    reason_of,
    status_of,
)

CHIPS = {
    "pending": "⚪",
    "running": "🔵",
    "success": "🟢",
    "failed": "🔴",
    "crashed": "🟠",
    "cancelled": "⚪",
    "killed": "🟡",
    "exception": "⚫",
    "lost": "⚫",
    "rejected": "⚪",
}

# error type, status, reason on the wire, whether it aborts the run
DOCUMENTED = [
    ("JobError", "failed", "fail", False),
    ("TypeError", "failed", "fail", False),
    ("RangeError", "failed", "fail", False),
    ("SyntaxError", "crashed", "crash", True),
    ("ReferenceError", "crashed", "crash", True),
    ("SecurityError", "killed", "kill", True),
    ("ImportError", "killed", "kill", True),
    ("OomError", "killed", "kill", True),
    ("TimeoutError", "killed", "kill", True),
]
OURS = [
    ("ValidationError", "crashed", "crash", True),
    ("EdgeConditionError", "crashed", "crash", True),
    ("ExecutionError", "crashed", "crash", True),
    ("CancelledError", "cancelled", "cancel", True),
    ("StateTooLargeError", "killed", "kill", True),
    ("StepLimitError", "killed", "kill", True),
    ("LostAfterClaim", "lost", "lost", True),
    ("LostAfterStart", "lost", "lost", True),
]


@pytest.mark.parametrize(("type", "status", "reason", "aborting"), DOCUMENTED + OURS)
def test_an_error_type_gives_its_status_reason_and_abort(
    type: str, status: str, reason: str, aborting: bool
) -> None:
    assert (status_of(type), reason_of(type), aborts(type)) == (Status(status), reason, aborting)


@pytest.mark.parametrize(("type", "status", "reason", "aborting"), DOCUMENTED + OURS)
def test_a_step_error_reads_the_same_table(
    type: str, status: str, reason: str, aborting: bool
) -> None:
    error = StepError(type=type, message="")
    assert (error.reason, error.aborts) == (reason, aborting)


def test_the_table_has_no_other_error_types() -> None:
    assert set(ERROR_TYPES) == {row[0] for row in DOCUMENTED + OURS}


@pytest.mark.parametrize(
    "type", ["", "KeyError", "AdaptorError", "CredentialLoadError", "RuntimeError", "joberror"]
)
def test_a_type_outside_of_the_table_is_our_own_fault_and_aborts(type: str) -> None:
    assert (status_of(type), reason_of(type), aborts(type)) == (
        Status.EXCEPTION,
        "exception",
        True,
    )


@pytest.mark.parametrize(("status", "chip"), CHIPS.items())
def test_a_status_has_the_documented_chip(status: str, chip: str) -> None:
    assert STATUSES[Status(status)].chip == chip


def test_every_status_has_a_row() -> None:
    assert set(STATUSES) == set(Status) == {Status(name) for name in CHIPS}


def test_only_pending_and_running_are_not_final() -> None:
    assert {status for status, row in STATUSES.items() if not row.final} == {
        Status.PENDING,
        Status.RUNNING,
    }


def test_only_success_exits_with_zero() -> None:
    assert [status for status, row in STATUSES.items() if row.exit_code == 0] == [Status.SUCCESS]


def test_an_exit_code_tells_failed_crashed_killed_and_cancelled_apart() -> None:
    codes = [
        STATUSES[status].exit_code
        for status in (Status.FAILED, Status.CRASHED, Status.KILLED, Status.CANCELLED)
    ]
    assert len(set(codes)) == 4


def test_marks_tell_every_status_apart_without_colour() -> None:
    assert len({row.mark for row in STATUSES.values()}) == len(STATUSES)


def test_reasons_are_the_words_of_the_wire_and_lead_back_to_their_status() -> None:
    """``lost`` is ours: a worker that is lost reports nothing."""
    assert STATUS_OF_REASON == {
        "success": Status.SUCCESS,
        "fail": Status.FAILED,
        "crash": Status.CRASHED,
        "cancel": Status.CANCELLED,
        "kill": Status.KILLED,
        "exception": Status.EXCEPTION,
        "lost": Status.LOST,
    }


def test_exit_codes_are_the_documented_ones() -> None:
    assert {status.value: row.exit_code for status, row in STATUSES.items()} == {
        "pending": 5, "running": 5, "success": 0, "failed": 1, "crashed": 3, "cancelled": 6,
        "killed": 4, "exception": 5, "lost": 5, "rejected": 7,
    }  # fmt: skip
