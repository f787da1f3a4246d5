"""Entries of ``state.errors`` for errors of JavaScript, in the shapes that OpenFn gives them.

The innermost frame of job or adaptor decides. An anonymous function of the job throws errors of
the job; a named one counts as an adaptor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from worker.core.outcome import Position, StepError, job_entry
from worker.workflow.model import Step


class Frame(Struct, frozen=True):
    """Frame of a stack, at its place in the source as written (``line`` 0: native code).

    ``is_inferred``: V8 shows a name of its own for the function, which has none.
    """

    name: str
    file: str
    line: int
    column: int
    is_inferred: bool = False

    @property
    def is_job(self) -> bool:
        return self.file == "globals" or self.file.startswith("job:")

    @property
    def is_anonymous_job(self) -> bool:
        return self.is_job and not self.name and not self.is_inferred

    @property
    def is_realm(self) -> bool:
        return self.file == "realm.js"


class Thrown(Struct, frozen=True, kw_only=True):
    """What a step threw: its error, the name of its class, its frames, and the operation's index.

    ``line`` and ``operation`` are those of the top-level call, where they are known.
    ``in_operation`` is false where the job's own statements threw, before its operations.
    """

    error: StepError
    class_name: str
    is_error: bool
    frames: Sequence[Frame]
    line: int = 0
    operation: str = ""
    in_operation: bool = True

    @property
    def innermost(self) -> Frame | None:
        """The innermost frame of job or adaptor, if no frame of the runtime comes before it."""
        for frame in self.frames:
            if frame.is_realm:
                return None
            if frame.line:
                return frame
        return None


# The order of the keys on OpenFn.
_KEYS = (
    "source", "name", "pos", "step", "details", "severity", "subtype", "message", "line",
    "operationName",
)  # fmt: skip


def write_entry(thrown: Thrown, step: Step) -> dict[str, Any]:
    """Write the entry; the realm fills the details of an adaptor's error."""
    entry = _entry(thrown, step)
    return {key: entry[key] for key in _KEYS if key in entry}


def _entry(thrown: Thrown, step: Step) -> dict[str, Any]:
    innermost = thrown.innermost
    is_adaptors = innermost is not None and not innermost.is_anonymous_job
    # OpenFn looks for adaptors' frames around operations alone.
    if thrown.is_error and is_adaptors and thrown.in_operation:
        return _adaptor_entry(thrown, step)
    entry = job_entry(thrown.error)
    if not thrown.class_name and thrown.error.type == "TypeError":
        # Thrown null or undefined: OpenFn's own code failed at it.
        return {**entry, "pos": _NOWHERE, "step": step.name or step.id}
    if "TypeError" in thrown.class_name or "RangeError" in thrown.class_name:
        message = f"{thrown.class_name}: {thrown.error.message}"
        entry |= {"name": "RuntimeError", "subtype": thrown.class_name, "message": message}
        return {**entry, **_place_of(thrown, step)}
    return {**entry, "name": "JobError", "message": thrown.error.message}


def _adaptor_entry(thrown: Thrown, step: Step) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "source": thrown.error.source,
        "name": "AdaptorError",
        "severity": thrown.error.reason,
        "message": thrown.error.message,
        "details": {},
    }
    if any(frame.is_anonymous_job for frame in thrown.frames) or not thrown.line:
        return {**entry, **_place_of(thrown, step)}
    entry["line"] = thrown.line
    return {**entry, "operationName": thrown.operation} if thrown.operation else entry


_NOWHERE = {"line": None, "column": None}


def _place_of(thrown: Thrown, step: Step) -> dict[str, Any]:
    own = next((frame for frame in thrown.frames if frame.is_job), None)
    # OpenFn looks an adaptor's line up in the job's source map, and does not find it.
    is_adaptors = not thrown.in_operation and thrown.innermost and not thrown.innermost.is_job
    if is_adaptors or (own is not None and own.file == "globals"):
        return {"pos": _NOWHERE, "step": step.name or step.id}
    return _place(thrown.error.position, step)


def _place(position: Position | None, step: Step) -> dict[str, Any]:
    if position is None:
        return {}
    pos: dict[str, Any] = {"line": position.line, "column": position.column}
    # OpenFn finds the source of a step by its name.
    if step.name:
        pos["src"] = position.source_line
    return {"pos": pos, "step": step.name or step.id}
