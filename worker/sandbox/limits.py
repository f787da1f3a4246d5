"""Limits of a run. The parent enforces the time limit, the run's process all others."""

from __future__ import annotations

from dataclasses import dataclass

from worker.core.outcome import StepError
from worker.util.nesting import NESTING_LIMIT, SIZE_LIMIT_BYTES

MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one run, with OpenFn's defaults.

    ``timeout_s`` counts from ``run:start``. ``memory_mb`` counts everything that the run
    allocates, buffers included. A state over ``state_mb`` (default: a quarter of the memory)
    kills the run; an output over ``payload_mb`` is withheld from the events; a log line over
    ``log_payload_mb`` is cut, and after ``log_lines`` lines, or ``log_total_mb`` of them, no more
    are reported.
    """

    timeout_s: float = 300.0
    memory_mb: int = 500
    state_mb: float | None = None
    payload_mb: float = 10.0
    log_payload_mb: float = 1.0
    log_lines: int = 10_000
    log_total_mb: float = 50.0

    @property
    def memory_bytes(self) -> int:
        return self.memory_mb * MIB

    @property
    def state_bytes(self) -> int:
        size = (self.memory_mb / 4 if self.state_mb is None else self.state_mb) * MIB
        return int(min(size, SIZE_LIMIT_BYTES))

    @property
    def payload_bytes(self) -> int:
        return int(self.payload_mb * MIB)

    @property
    def log_total_bytes(self) -> int:
        return int(self.log_total_mb * MIB)

    @property
    def log_payload_bytes(self) -> int:
        return int(self.log_payload_mb * MIB)


def timed_out(limits: Limits) -> StepError:
    """Return the error of a run that took longer than its time limit."""
    text = f"the run took longer than its limit of {limits.timeout_s:g} s"
    return StepError(type="TimeoutError", message=text)


def too_deep(name: str = "the state") -> StepError:
    """Return the error of a run whose state, or what else ``name`` says, is nested too deeply."""
    text = f"{name} is nested more than {NESTING_LIMIT} levels deep"
    return StepError(type="StateTooLargeError", message=text)
