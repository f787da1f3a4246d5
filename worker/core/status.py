"""Table of statuses: the status of each error type, and what a status means to each reader.

Source: OpenFn's "Work Order & Run Status Codes", with the types that its worker adds. All code
that maps an error to a status, or a status to a chip, an exit code or a wire reason, uses it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal

from msgspec import Struct

Reason = Literal["success", "fail", "crash", "kill", "cancel", "exception", "lost"]
"""The reason that an execution or a run ended with, as OpenFn's wire spells it."""


class Status(StrEnum):
    """Status of a run; a work order has the status of its last run."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    CRASHED = "crashed"
    CANCELLED = "cancelled"
    KILLED = "killed"
    EXCEPTION = "exception"
    LOST = "lost"
    REJECTED = "rejected"


class StatusRow(Struct, frozen=True, kw_only=True):
    """Representations of a status.

    ``reason`` is OpenFn's term on the wire (empty if a run never reports it), ``chip`` and
    ``color`` are OpenFn's, ``mark`` distinguishes statuses without colour, and ``exit_code`` is
    that of ``worker run``.
    """

    reason: Reason | Literal[""]
    chip: str
    mark: str
    color: str
    exit_code: int
    final: bool = True


STATUSES: Final[dict[Status, StatusRow]] = {
    Status.PENDING: StatusRow(
        reason="", chip="⚪", mark="·", color="white", exit_code=5, final=False
    ),
    Status.RUNNING: StatusRow(
        reason="", chip="🔵", mark="▸", color="blue", exit_code=5, final=False
    ),
    Status.SUCCESS: StatusRow(reason="success", chip="🟢", mark="✓", color="green", exit_code=0),
    Status.FAILED: StatusRow(reason="fail", chip="🔴", mark="✗", color="red", exit_code=1),
    Status.CRASHED: StatusRow(
        reason="crash", chip="🟠", mark="!", color="dark_orange", exit_code=3
    ),
    Status.CANCELLED: StatusRow(reason="cancel", chip="⚪", mark="⊘", color="white", exit_code=6),
    Status.KILLED: StatusRow(reason="kill", chip="🟡", mark="☓", color="yellow", exit_code=4),
    Status.EXCEPTION: StatusRow(
        reason="exception", chip="⚫", mark="?", color="bright_black", exit_code=5
    ),
    Status.LOST: StatusRow(reason="lost", chip="⚫", mark="…", color="bright_black", exit_code=5),
    Status.REJECTED: StatusRow(reason="", chip="⚪", mark="–", color="white", exit_code=7),
}

ERROR_TYPES: Final[dict[str, Status]] = {
    # A job can throw these itself: edges decide how the run goes on.
    "JobError": Status.FAILED,
    "TypeError": Status.FAILED,
    "RangeError": Status.FAILED,
    # The workflow or a job's code is wrong: no edge could handle that.
    "SyntaxError": Status.CRASHED,
    "ReferenceError": Status.CRASHED,
    "ValidationError": Status.CRASHED,
    "EdgeConditionError": Status.CRASHED,
    "ExecutionError": Status.CRASHED,
    # From here on the worker ends the run, not the job's own code.
    "CancelledError": Status.CANCELLED,
    "SecurityError": Status.KILLED,
    "ImportError": Status.KILLED,
    "OomError": Status.KILLED,
    "TimeoutError": Status.KILLED,
    "StateTooLargeError": Status.KILLED,
    "StepLimitError": Status.KILLED,
    "LostAfterClaim": Status.LOST,
    "LostAfterStart": Status.LOST,
}


def status_of(error_type: str) -> Status:
    """Return the status of an error type; ``exception`` for an unknown one."""
    # An unknown type comes from the worker itself, not from a job.
    return ERROR_TYPES.get(error_type, Status.EXCEPTION)


def reason_of(error_type: str) -> Reason:
    """Return the wire reason of an error type: ``fail``, ``crash``, ``kill``, ``cancel``, ..."""
    # Only a status that is not final has no reason, and no error type leads to such a status.
    return STATUSES[status_of(error_type)].reason or "exception"


def aborts(error_type: str) -> bool:
    """Return whether the error ends the run at once, with its queued steps."""
    return status_of(error_type) is not Status.FAILED


STATUS_OF_REASON: Final[dict[str, Status]] = {
    row.reason: status for status, row in STATUSES.items() if row.reason
}
