"""Errors of the library and the command. A class's docstring is its default message."""

from __future__ import annotations


class WorkerError(Exception):
    """The workflow worker could not complete the operation."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class LoadError(WorkerError):
    """A file could not be read as a workflow.

    ``file`` is the file (or ``<dict>``) and ``path`` the path of the value inside it
    (``workflows.referral.jobs.fetch.body``); ``line`` and ``column`` count from 1, 0 if unknown.
    """

    def __init__(
        self, message: str, *, file: str = "", path: str = "", line: int = 0, column: int = 0
    ) -> None:
        self.message, self.file, self.path = message, file, path
        self.line, self.column = line, column
        location = f"{file}:{line}:{column}" if line else file
        super().__init__(": ".join(part for part in (location, path, message) if part))


class PlanError(WorkerError):
    """The workflow cannot run.

    ``type`` is the error type of such a run: ValidationError, EdgeConditionError, SyntaxError or
    ImportError.
    """

    def __init__(self, message: str, *, type: str = "ValidationError") -> None:
        super().__init__(message)
        self.type = type


class UsageError(WorkerError):
    """The arguments contradict each other."""
