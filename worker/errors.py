"""Errors of the library and the command. A class's docstring is its default message."""

from __future__ import annotations

from errno import ENAMETOOLONG
from pathlib import Path
from typing import ClassVar

SOURCE_LINE_LIMIT = 500
"""Maximum number of characters of a line of source that an event or a report holds."""
_MAX_SOURCE_LINE = 10_000

_MAX_NAME_BYTES, _MAX_PATH_BYTES = 255, 4095
# Of a name that begins as JSON does. A short one is shown, as it says what was mistaken.
_MAX_ODD_BYTES = 100


def source_line(text: str) -> str:
    """Return the line of source that an error holds: all of it, or nothing of one too long.

    It is cut where its secrets are masked: a part of one would not be recognised.
    """
    return text if len(text) <= _MAX_SOURCE_LINE else ""


class WorkerError(Exception):
    """The workflow worker could not complete the operation."""

    exit_code: ClassVar[int] = 2
    """Exit code of a command that ends with this error."""

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
        name = name_in_message(file)
        location = f"{name}:{line}:{column}" if line else name
        super().__init__(": ".join(part for part in (location, path, message) if part))


class PlanError(WorkerError):
    """The workflow cannot run.

    ``type`` is the error type of such a run: ValidationError, EdgeConditionError, SyntaxError or
    ImportError. ``step`` is the id of the step that the error is about, empty where it is none.
    ``line`` and ``column`` are its place in the source of that step or condition, and count from 1;
    0 if unknown. ``source_line`` is the text of the line.
    """

    def __init__(
        self,
        message: str,
        *,
        type: str = "ValidationError",
        step: str = "",
        line: int = 0,
        column: int = 0,
        source_line: str = "",
    ) -> None:
        super().__init__(message)
        self.type = type
        self.step = step
        self.line, self.column, self.source_line = line, column, source_line

    def of_step(self, step: str, prefix: str = "") -> PlanError:
        """Return the same error of a step, with a prefix that names what it is about."""
        # The type stays, for the status of the run follows from it.
        return PlanError(
            f"{prefix}: {self}" if prefix else str(self),
            type=self.type,
            step=step,
            line=self.line,
            column=self.column,
            source_line=self.source_line,
        )


class UsageError(WorkerError):
    """The arguments contradict each other."""


class MachineError(WorkerError):
    """The machine refused an operation: a full disk, an occupied port, a missing permission."""

    # Of sysexits.h: a script can distinguish it from wrong usage, which no later attempt mends.
    exit_code = 71


def reason_of(error: BaseException) -> str:
    """Return why something failed: the system's words, else the error's text, else its name."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def cannot_write(path: Path, error: OSError) -> WorkerError:
    """Return the error of a file that cannot be written, with the path and the reason."""
    text = f"cannot write {name_in_message(str(path))}: {reason_of(error)}"
    wrong_path = error.errno == ENAMETOOLONG or isinstance(
        error, FileNotFoundError | FileExistsError | IsADirectoryError | NotADirectoryError
    )
    return UsageError(text) if wrong_path else MachineError(text)


def name_in_message(file: str) -> str:
    """Return a file's name for a message; a text too long for one is only measured."""
    # It is something else in the place of a file, such as a state with data of patients.
    size = len(file.encode(errors="replace"))
    longest = max(len(part.encode(errors="replace")) for part in file.split("/"))
    is_name = longest <= _MAX_NAME_BYTES and size <= _MAX_PATH_BYTES
    if is_name and not (size > _MAX_ODD_BYTES and file.lstrip().startswith(("{", "["))):
        return file
    return f"a file name of {size:,} bytes"
