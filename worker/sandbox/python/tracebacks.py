"""Conversion of a Python exception to a :class:`StepError` with positions in the step's file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from types import CodeType, TracebackType
from typing import Any, Final

from msgspec.structs import replace

from worker.core.outcome import OUT_OF_MEMORY, Position, StepError
from worker.core.status import aborts
from worker.errors import source_line
from worker.sandbox.limits import too_deep
from worker.sandbox.python.guard import ForbiddenName, GuardViolation, out_of_memory
from worker.sandbox.python.state import TooDeepError, to_json

STACK_LIMIT: Final = 10
DETAILS_LIMIT: Final = 20_000
"""In characters of JSON; larger details are left out."""

_TYPES: Final[tuple[tuple[tuple[type[BaseException], ...], str], ...]] = (
    ((NameError,), "ReferenceError"),
    ((SyntaxError,), "SyntaxError"),
    ((ImportError,), "ImportError"),
    ((TypeError, AttributeError), "TypeError"),
    ((IndexError, KeyError, OverflowError, RecursionError), "RangeError"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceText:
    """Name of a step's file, as in its frames, and its lines."""

    file: str
    lines: tuple[str, ...]

    def position(self, line: int, offset: int) -> Position:
        """Return the position at ``offset`` bytes of UTF-8 into a line."""
        text = self.lines[line - 1] if 0 < line <= len(self.lines) else ""
        column = len(text.encode("utf-8", "surrogatepass")[:offset].decode("utf-8", "replace")) + 1
        return Position(line=line, column=column, source_line=source_line(text))


def step_error(error: BaseException, source: SourceText, step_id: str) -> StepError:
    """Describe an exception that a step raised.

    The position is that of the innermost frame in the step's own file.
    """
    error = _decisive(error)
    type = _type(error)
    if type == "OomError":
        return replace(OUT_OF_MEMORY, job_id=step_id)
    try:
        details = _details(error)
    except TooDeepError:
        return replace(too_deep("a value of the error"), job_id=step_id)
    frames = _own_frames(error.__traceback__, source)
    return StepError(
        type=type,
        message=_message(error),
        name=_name(error),
        job_id=step_id,
        position=frames[0][1] if frames else None,
        stack=tuple(
            f"at {name} ({source.file}:{at.line}:{at.column})" for name, at in frames[:STACK_LIMIT]
        ),
        details=details,
    )


def forbidden_error(forbidden: ForbiddenName, source: SourceText, step_id: str) -> StepError:
    """Describe the violation of a step that uses a forbidden name."""
    position = source.position(forbidden.line, forbidden.offset)
    return StepError(
        type="SecurityError",
        message=forbidden.message,
        name="SecurityError",
        job_id=step_id,
        position=position,
    )


def _decisive(error: BaseException) -> BaseException:
    """Pick from a group its first exception that aborts the run, its only one, or the group."""
    pending, members = [error], []
    while pending:
        member = pending.pop(0)
        if isinstance(member, BaseExceptionGroup):
            pending[:0] = member.exceptions
        elif aborts(_type(member)):
            return member
        else:
            members.append(member)
    return members[0] if len(members) == 1 else error


def _type(error: BaseException) -> str:
    # The table is in the docstring of worker.sandbox.python.steps.
    if isinstance(error, GuardViolation):
        return error.type
    if is_denied(error):
        return "SecurityError"
    if out_of_memory(error):
        return "OomError"
    return next((type for kinds, type in _TYPES if isinstance(error, kinds)), "JobError")


def is_denied(error: BaseException) -> bool:
    """Return True for the error of a system call that the process may not make."""
    # A PermissionError that a step raises by itself has no number.
    return isinstance(error, PermissionError) and error.errno is not None


def _name(error: BaseException) -> str:
    return error.type if isinstance(error, GuardViolation) else type(error).__name__


def _message(error: BaseException) -> str:
    try:
        text = f"{error}"
    except Exception:
        return "an error that cannot be read"
    if isinstance(error, RecursionError):
        # CPython's message ends with the operation that it was in, which varies.
        return "Maximum recursion depth exceeded" if text.startswith("maximum rec") else text
    # str(KeyError("age")) is "'age'", which says nothing without the class.
    bare = isinstance(error, KeyError) or not isinstance(error, Exception | GuardViolation)
    return f"{_name(error)}: {text}" if bare and text else text or _name(error)


def _own_frames(trace: TracebackType | None, source: SourceText) -> list[tuple[str, Position]]:
    """List the function and position of each frame in the step's file, the innermost first."""
    frames: dict[int, tuple[CodeType, int, int]] = {}
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_code.co_filename == source.file:
            # A frame that caught and raised the error again is there twice; the last is inner.
            frames[id(frame)] = (frame.f_code, trace.tb_lasti, trace.tb_lineno)
        trace = trace.tb_next
    innermost = list(frames.values())[::-1][:STACK_LIMIT]
    return [
        (code.co_qualname, _position(code, last, line, source)) for code, last, line in innermost
    ]


def _position(code: CodeType, last: int, line: int, source: SourceText) -> Position:
    # An instruction takes two bytes; co_positions() has one entry for each.
    index = max(last, 0) // 2
    _, _, offset, _ = next(islice(code.co_positions(), index, None), (None, None, None, None))
    return source.position(line, offset or 0)


def _details(error: BaseException) -> dict[str, Any]:
    """Return the public attributes of an error, as far as they are JSON.

    Raises :class:`TooDeepError` where they are nested too deeply.
    """
    if isinstance(error, GuardViolation):
        return {}
    carried = {name: value for name, value in vars(error).items() if not name.startswith("_")}
    try:
        text = to_json(carried, lambda message: None) or "{}"
        details: dict[str, Any] = json.loads(text) if len(text) <= DETAILS_LIMIT else {}
    except TooDeepError:
        raise
    except Exception:
        return {}
    return details
