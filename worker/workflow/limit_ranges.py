"""Ranges of the limits of a run, and their names in workflow files.

All doors check limits with this table: a file where it is read, arguments and orders where they
enter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

MAX_TIMEOUT_S = 86_400


# No struct: the help of a command would import what makes one.
class LimitRange(NamedTuple):
    """Range of a limit: whole numbers from ``minimum``, or numbers above 0, up to ``maximum``."""

    maximum: int
    minimum: int = 0

    @property
    def is_whole(self) -> bool:
        return self.minimum > 0

    def problem(self, value: Any) -> str | None:
        """Return what is wrong with a value, or ``None``."""
        if self._holds(value):
            return None
        return f"expected {self}, found {_shortened(value)}"

    def _holds(self, value: Any) -> bool:
        # To Python, a bool is an int too.
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if isinstance(value, float) and not (math.isfinite(value) and value <= self.maximum):
            return False
        if self.is_whole:
            return value == int(value) and self.minimum <= value <= self.maximum
        return 0 < value <= self.maximum

    def __str__(self) -> str:
        if self.is_whole:
            return f"a whole number from {self.minimum:,} to {self.maximum:,}"
        return f"a number above 0 and up to {self.maximum:,}"


def _shortened(value: Any) -> str:
    # Python refuses to write out an integer of thousands of digits.
    if isinstance(value, int) and value.bit_length() > 128:
        return "an integer of more than 38 digits"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


RANGES: Mapping[str, LimitRange] = {
    "timeout_s": LimitRange(maximum=MAX_TIMEOUT_S),
    "memory_mb": LimitRange(minimum=8, maximum=1_000_000),
    "state_mb": LimitRange(maximum=1_000_000),
    "payload_mb": LimitRange(maximum=1_000),
    "log_payload_mb": LimitRange(maximum=1_000),
    "log_lines": LimitRange(minimum=1, maximum=10_000_000),
    "log_total_mb": LimitRange(maximum=10_000),
    "executions": LimitRange(minimum=1, maximum=10_000_000),
    "events_mb": LimitRange(maximum=100_000),
    "fuel": LimitRange(minimum=1, maximum=10**15),
}
"""By the fields of :class:`worker.sandbox.limits.Limits`."""

# A timeout in a file is in milliseconds, as OpenFn has it.
MS_PER_S = 1000
FILE_OPTIONS: Mapping[str, str] = {
    "run_timeout_ms": "timeout_s",
    "run_memory_limit_mb": "memory_mb",
    "state_limit_mb": "state_mb",
    "payload_limit_mb": "payload_mb",
    "log_payload_limit_mb": "log_payload_mb",
}
"""The limits that a workflow file can set, by OpenFn's names."""


def file_option_problem(option: str, value: Any) -> str | None:
    """Return what is wrong with the value of an option of a file, or ``None``."""
    limit = RANGES[FILE_OPTIONS[option]]
    if option == "run_timeout_ms":
        limit = LimitRange(maximum=limit.maximum * MS_PER_S)
    return limit.problem(value)
