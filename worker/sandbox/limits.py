"""Limits of a run. The parent enforces the time limit, the run's process all others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from worker.core.machine import MAX_EXECUTIONS
from worker.core.outcome import StepError
from worker.errors import UsageError
from worker.util.nesting import NESTING_LIMIT, SIZE_LIMIT_BYTES
from worker.workflow.limit_ranges import FILE_OPTIONS, MS_PER_S, RANGES, file_option_problem

MIB = 1024 * 1024

_OPTIONAL = ("state_mb", "fuel")
"""Limits that may be ``None``."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one run, with OpenFn's defaults.

    ``timeout_s`` counts from ``run:start``. ``memory_mb`` counts everything that the run
    allocates, buffers included. A state over ``state_mb`` (default: a quarter of the memory)
    kills the run; an output over ``payload_mb`` is withheld from the events; a log line over
    ``log_payload_mb`` is cut, and after ``log_lines`` lines, or ``log_total_mb`` of them, no more
    are reported. More than ``executions`` of steps, or events over ``events_mb``, kill the run;
    so do more than ``fuel`` instructions of the engine, which are counted only where it is set.
    Raises :class:`UsageError` for a value out of its range.
    """

    timeout_s: float = 300.0
    memory_mb: int = 500
    state_mb: float | None = None
    payload_mb: float = 10.0
    log_payload_mb: float = 1.0
    log_lines: int = 10_000
    log_total_mb: float = 50.0
    executions: int = MAX_EXECUTIONS
    events_mb: float = 256.0
    fuel: int | None = None

    # Here, so that nothing can hold a limit that no check has seen.
    def __post_init__(self) -> None:
        for name, limit in RANGES.items():
            value = getattr(self, name)
            unset = value is None and name in _OPTIONAL
            if not unset and (problem := limit.problem(value)):
                raise UsageError(f"{name}: {problem}")

    @cached_property
    def memory_bytes(self) -> int:
        return self.memory_mb * MIB

    @cached_property
    def effective_state_mb(self) -> float:
        """State limit in MB, from the memory where none is set."""
        return self.memory_mb / 4 if self.state_mb is None else self.state_mb

    @cached_property
    def state_bytes(self) -> int:
        return int(min(self.effective_state_mb * MIB, SIZE_LIMIT_BYTES))

    @cached_property
    def events_bytes(self) -> int:
        return int(self.events_mb * MIB)

    @cached_property
    def payload_bytes(self) -> int:
        return int(self.payload_mb * MIB)

    @cached_property
    def log_total_bytes(self) -> int:
        return int(self.log_total_mb * MIB)

    @cached_property
    def log_payload_bytes(self) -> int:
        return int(self.log_payload_mb * MIB)


def resolve_limits(
    options: Mapping[str, Any],
    requested: Mapping[str, float | None] | None = None,
    caps: Limits | None = None,
) -> Limits:
    """Resolve each limit: what was requested, else the file's option, else the default.

    ``requested`` are fields of :class:`Limits`; ``None`` requests nothing. No limit exceeds that of
    ``caps``. Raises :class:`UsageError`, with the name, the value and the range.
    """
    arguments = {name: value for name, value in (requested or {}).items() if value is not None}
    values: dict[str, Any] = {**_limits_of_file(options), **arguments}
    limits = Limits(**{name: _whole(name, value) for name, value in values.items()})
    return limits if caps is None else _capped(limits, caps)


def _whole(name: str, value: Any) -> Any:
    # Files and JSON write 64.0 too.
    limit = RANGES.get(name)
    return int(value) if limit and limit.is_whole and not limit.problem(value) else value


def _limits_of_file(options: Mapping[str, Any]) -> dict[str, Any]:
    limits = {}
    for option, name in FILE_OPTIONS.items():
        if (value := options.get(option)) is None:
            continue
        # A file was checked when it was loaded; a workflow can also be built in Python.
        if problem := file_option_problem(option, value):
            raise UsageError(f"the workflow's option {option}: {problem}")
        limits[name] = value / MS_PER_S if option == "run_timeout_ms" else value
    return limits


def _capped(limits: Limits, caps: Limits) -> Limits:
    lowest = {
        field.name: min(getattr(limits, field.name), getattr(caps, field.name))
        for field in fields(Limits)
        if field.name not in _OPTIONAL
    }
    fuel = min(filter(None, (limits.fuel, caps.fuel)), default=None)
    # A quarter of a memory that was capped would be less than what the operator allows.
    state_mb = min(limits.effective_state_mb, caps.effective_state_mb)
    return Limits(**lowest, state_mb=state_mb, fuel=fuel)


def timed_out(limits: Limits) -> StepError:
    """Return the error of a run that took longer than its time limit."""
    text = f"the run took longer than its limit of {limits.timeout_s:g} s"
    return StepError(type="TimeoutError", message=text)


def out_of_fuel(limits: Limits) -> StepError:
    """Return the error of a run that executed more instructions than it may."""
    text = f"the run took more instructions than its fuel limit of {limits.fuel:,}"
    return StepError(type="StepLimitError", message=text)


def too_many_events(limits: Limits) -> StepError:
    """Return the error of a run whose events are over their limit."""
    text = f"the events of the run are over their limit of {limits.events_mb:g} MB"
    return StepError(type="StepLimitError", message=text)


def too_deep(name: str = "the state") -> StepError:
    """Return the error of a run whose state, or what else ``name`` says, is nested too deeply."""
    text = f"{name} is nested more than {NESTING_LIMIT} levels deep"
    return StepError(type="StateTooLargeError", message=text)
