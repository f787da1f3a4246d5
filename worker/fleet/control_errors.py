"""Errors of requests to a control plane."""

from __future__ import annotations

from worker.errors import WorkerError


class ControlError(WorkerError):
    """Error reply of the control plane.

    ``code``: invalid, unknown, conflict, rejected, denied, busy, missing, too_large.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class NoAnswer(WorkerError):
    """No reply from a control plane within the timeout."""

    # Of sysexits.h, "service unavailable": the same command may succeed later.
    exit_code = 69


class RefusedByBroker(NoAnswer):
    """No reply, because the broker refuses the request, such as for its size or a quota."""


class AccessRefused(RefusedByBroker):
    """No reply, because the broker refuses the user, or what it may publish."""

    # No later attempt of the same command succeeds.
    exit_code = 2
