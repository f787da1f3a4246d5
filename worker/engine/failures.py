"""Errors of the engine, as the callers of an instance receive them."""

from __future__ import annotations

from typing import Any


class ScriptError(Exception):
    """A script threw a value and did not catch it; the text is the value's own."""


class OutOfMemory(ScriptError):
    """The run was refused memory, whether or not the script caught the error."""


class Interrupted(Exception):
    """The deadline passed, or the call was cancelled."""


class OutOfFuel(Exception):
    """The run executed more instructions than it may."""


class EngineFault(Exception):
    """The engine itself failed; the instance cannot be used again."""


class EvaluationError(Exception):
    """A text could not be evaluated; ``report`` is the realm's description of the error."""

    def __init__(self, report: dict[str, Any]) -> None:
        super().__init__(report["message"])
        self.report = report
