"""OpenFn's words for errors on the wire, by our error types.

Recordings and metrics keep our own types. Measured on OpenFn's worker; Lightning stores
``error_type`` as it is.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from worker.core.outcome import StepError
from worker.core.status import Reason

MAX_MESSAGE_CHARACTERS = 100_000
"""What is reported of a message: the rest must not make the frame too large."""


class ErrorWord(Struct, frozen=True, kw_only=True):
    """Words of one error type: in ``step:complete``, and in ``run:complete`` if they differ.

    ``reason`` is empty where it is that of our own type. ``names_type`` puts our type before the
    message, as in ``TypeError: x is not a function``.
    """

    step: str
    run: str = ""
    reason: Reason | None = None
    names_type: bool = False


ERROR_WORDS: Final[dict[str, ErrorWord]] = {
    "TypeError": ErrorWord(step="RuntimeError", names_type=True),
    "RangeError": ErrorWord(step="RuntimeError", names_type=True),
    "ReferenceError": ErrorWord(step="ReferenceError", run="RuntimeCrash", names_type=True),
    "SyntaxError": ErrorWord(step="CompileError"),
    # OpenFn's table of statuses has it as killed; its worker reports a crash.
    "ImportError": ErrorWord(step="ImportError", reason="crash"),
    "OomError": ErrorWord(step="OOMError"),
    # A process that ended before its run, as by process.exit() of an adaptor there.
    "ProcessError": ErrorWord(step="ExitError", reason="crash"),
}
"""The error types that OpenFn's worker has another word or reason for."""


class WireReason(Struct, frozen=True, kw_only=True):
    """The three fields by which an execution or a run says how it ended."""

    reason: str
    error_type: str | None = None
    error_message: str | None = None

    @property
    def fields(self) -> dict[str, str | None]:
        return {
            "reason": self.reason,
            "error_type": self.error_type,
            "error_message": self.error_message,
        }


def step_reason(reason: str, error: StepError | None) -> WireReason:
    """Convert the end of an execution to OpenFn's words."""
    return _wire_reason(reason, error, of_run=False)


def run_reason(reason: str, error: StepError | None) -> WireReason:
    """Convert the end of a run to OpenFn's words."""
    return _wire_reason(reason, error, of_run=True)


def _wire_reason(reason: str, error: StepError | None, *, of_run: bool) -> WireReason:
    if error is None:
        return WireReason(reason=reason)
    word = ERROR_WORDS.get(error.type, ErrorWord(step=error.type))
    message = f"{error.type}: {error.message}" if word.names_type else error.message
    return WireReason(
        reason=word.reason or reason,
        error_type=(word.run if of_run else "") or word.step,
        error_message=message[:MAX_MESSAGE_CHARACTERS],
    )
