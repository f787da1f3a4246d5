"""The one table of statuses: which error type gives which status, and whether it aborts the run.

Source: OpenFn's "Work Order & Run Status Codes", with the types that its worker adds. Everything
that maps an error to a status, a status to a chip, an exit code or a wire reason reads it here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

Reason = Literal["success", "fail", "crash", "kill", "cancel", "exception", "lost"]
"""The reason that an execution or a run ended with, as OpenFn's wire spells it."""


class Status(StrEnum):
    """The status of a run; a work order has the status of its last run."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRow:
    """What a status means to each reader.

    ``reason`` is the word on OpenFn's wire (empty where a run never reports it), ``chip`` and
    ``color`` are OpenFn's, ``mark`` tells statuses apart without colour, ``exit_code`` is what
    ``worker run`` returns.
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
    Status.REJECTED: StatusRow(reason="", chip="⚪", mark="–", color="white", exit_code=5),
}

ERROR_TYPES: Final[dict[str, Status]] = {
    "JobError": Status.FAILED,
    "TypeError": Status.FAILED,
    "RangeError": Status.FAILED,
    "SyntaxError": Status.CRASHED,
    "ReferenceError": Status.CRASHED,
    "ValidationError": Status.CRASHED,
    "EdgeConditionError": Status.CRASHED,
    "ExecutionError": Status.CRASHED,
    "CancelledError": Status.CANCELLED,
    "SecurityError": Status.KILLED,
    "ImportError": Status.KILLED,
    "OomError": Status.KILLED,
    "TimeoutError": Status.KILLED,
    "StateTooLargeError": Status.KILLED,
    "LostAfterClaim": Status.LOST,
    "LostAfterStart": Status.LOST,
}


def status_of(error_type: str) -> Status:
    """The status that an error type gives; a type outside the table is our own fault."""
    return ERROR_TYPES.get(error_type, Status.EXCEPTION)


def reason_of(error_type: str) -> Reason:
    """The wire word of an error type: ``fail``, ``crash``, ``kill``, ``cancel``, ..."""
    reason = STATUSES[status_of(error_type)].reason
    assert reason, "every error type gives a final status"
    return reason


def aborts(error_type: str) -> bool:
    """Whether the walk stops at once, queued siblings too."""
    return status_of(error_type) is not Status.FAILED


STATUS_OF_REASON: Final[dict[str, Status]] = {
    row.reason: status for status, row in STATUSES.items() if row.reason
}
