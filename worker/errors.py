"""The errors that users of the library and the command meet. The docstring is the default text."""

from __future__ import annotations


class WorkerError(Exception):
    """The workflow worker could not do what was asked."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class LoadError(WorkerError):
    """A file could not be read as a workflow.

    ``file`` is the file (or ``<dict>``), ``path`` the place inside it
    (``workflows.referral.jobs.fetch.body``), ``line`` and ``column`` count from 1 where known.
    """

    def __init__(
        self, message: str, *, file: str = "", path: str = "", line: int = 0, column: int = 0
    ) -> None:
        self.message, self.file, self.path = message, file, path
        self.line, self.column = line, column
        place = f"{file}:{line}:{column}" if line else file
        super().__init__(": ".join(part for part in (place, path, message) if part))


class PlanError(WorkerError):
    """The workflow is not one that can run.

    ``type`` is the error type that the run ends with: ValidationError, EdgeConditionError,
    SyntaxError, ImportError.
    """

    def __init__(self, message: str, *, type: str = "ValidationError") -> None:
        super().__init__(message)
        self.type = type


class UsageError(WorkerError):
    """The arguments do not fit together."""
