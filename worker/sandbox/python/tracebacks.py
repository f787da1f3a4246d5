"""A Python exception as a :class:`StepError`, in the author's own lines."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import islice
from types import CodeType, TracebackType
from typing import Any, Final

from worker.core.outcome import OUT_OF_MEMORY, Position, StepError
from worker.core.status import aborts
from worker.sandbox.python.guard import ForbiddenName, GuardViolation, out_of_memory
from worker.sandbox.python.state import to_json

STACK_LIMIT: Final = 10
SOURCE_LINE_LIMIT: Final = 500
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
    """A step's file, by the name that its frames carry, and its lines."""

    file: str
    lines: tuple[str, ...]

    def position(self, line: int, offset: int) -> Position:
        """The place at ``offset`` bytes into a line, which is how Python counts."""
        text = self.lines[line - 1] if 0 < line <= len(self.lines) else ""
        column = len(text.encode("utf-8", "surrogatepass")[:offset].decode("utf-8", "replace")) + 1
        return Position(line=line, column=column, source_line=text[:SOURCE_LINE_LIMIT])


def step_error(error: BaseException, source: SourceText, step_id: str) -> StepError:
    """Why a step did not succeed. The position is that of the innermost frame in its own file."""
    error = _deciding(error)
    type = _type(error)
    if type == "OomError":
        return replace(OUT_OF_MEMORY, job_id=step_id)
    frames = _own_frames(error.__traceback__, source)
    return StepError(
        type=type,
        message=_message(error),
        name=_name(error),
        job_id=step_id,
        position=frames[0][1] if frames else None,
        stack=tuple(
            f"at {name} ({source.file}:{place.line}:{place.column})"
            for name, place in frames[:STACK_LIMIT]
        ),
        details=_details(error),
    )


def forbidden_error(found: ForbiddenName, source: SourceText, step_id: str) -> StepError:
    """Why a step that uses a forbidden name is killed."""
    position = source.position(found.line, found.offset)
    return StepError(
        type="SecurityError",
        message=found.message,
        name="SecurityError",
        job_id=step_id,
        position=position,
    )


def _deciding(error: BaseException) -> BaseException:
    """Of a group: the first exception that aborts the run, or its only one, or the group."""
    pending, single = [error], []
    while pending:
        each = pending.pop(0)
        if isinstance(each, BaseExceptionGroup):
            pending[:0] = each.exceptions
        elif aborts(_type(each)):
            return each
        else:
            single.append(each)
    return single[0] if len(single) == 1 else error


def _type(error: BaseException) -> str:
    """The error type, by the table in :mod:`worker.sandbox.python.steps`."""
    if isinstance(error, GuardViolation):
        return error.type
    if out_of_memory(error):
        return "OomError"
    return next((type for kinds, type in _TYPES if isinstance(error, kinds)), "JobError")


def _name(error: BaseException) -> str:
    return error.type if isinstance(error, GuardViolation) else type(error).__name__


def _message(error: BaseException) -> str:
    try:
        text = f"{error}"
    except Exception:
        return "an error that cannot be read"
    if isinstance(error, RecursionError):
        # CPython ends its own message with what it happened to be doing.
        return "Maximum recursion depth exceeded" if text.startswith("maximum rec") else text
    bare = isinstance(error, KeyError) or not isinstance(error, Exception | GuardViolation)
    return f"{_name(error)}: {text}" if bare and text else text or _name(error)


def _own_frames(trace: TracebackType | None, source: SourceText) -> list[tuple[str, Position]]:
    """The function and the place of each frame in the step's file, the innermost first."""
    frames: dict[int, tuple[CodeType, int, int]] = {}
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_code.co_filename == source.file:
            # A frame that caught the error and raised it again stands twice: the last is inner.
            frames[id(frame)] = (frame.f_code, trace.tb_lasti, trace.tb_lineno)
        trace = trace.tb_next
    innermost = list(frames.values())[::-1][:STACK_LIMIT]
    return [(code.co_qualname, _place(code, last, line, source)) for code, last, line in innermost]


def _place(code: CodeType, last: int, line: int, source: SourceText) -> Position:
    index = max(last, 0) // 2
    _, _, offset, _ = next(islice(code.co_positions(), index, None), (None, None, None, None))
    return source.position(line, offset or 0)


def _details(error: BaseException) -> dict[str, Any]:
    """What the error carries in public attributes, as far as it is JSON."""
    if isinstance(error, GuardViolation):
        return {}
    carried = {name: value for name, value in vars(error).items() if not name.startswith("_")}
    try:
        text = to_json(carried, lambda message: None) or "{}"
        details: dict[str, Any] = json.loads(text) if len(text) <= DETAILS_LIMIT else {}
    except Exception:
        return {}
    return details
