"""Settings under the names that OpenFn's worker reads from its environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

from worker.errors import UsageError
from worker.lightning.claim_loop import (
    DEFAULT_QUEUES,
    Backoff,
    Workloop,
    parse_backoff,
    parse_workloops,
)
from worker.lightning.delivery import MAX_BATCH_LINES, LogBatches
from worker.lightning.run_plan import RunDefaults
from worker.sandbox.limits import Limits

DEFAULT_CAPACITY = 5
_QUIET_LEVELS = ("none", "error", "warn")
_MS_PER_S = 1000
NO_MEANING = (
    "WORKER_COLLECTIONS_VERSION", "WORKER_PROFILE", "WORKER_PROFILE_POLL_INTERVAL_MS",
    "WORKER_REPO_DIR", "WORKER_SENTRY_DSN", "WORKER_SENTRY_ENV", "WORKER_STATE_PROPS_TO_REMOVE",
    "WORKER_TIMEOUT_RETRY_COUNT", "WORKER_TIMEOUT_RETRY_DELAY_MS", "WORKER_VALIDATION_RETRIES",
    "WORKER_VALIDATION_TIMEOUT_MS",
)  # fmt: skip
"""Variables of OpenFn's worker that are about its own parts."""


class EnvironmentSettings(Struct, frozen=True, kw_only=True):
    """Settings of the environment, with OpenFn's defaults.

    ``batches`` is ``None`` where each log line is a message, and ``listen`` empty without a port.
    ``ignored`` are the variables that are set and have no meaning here.
    """

    secret: str
    public_key: str
    workloops: tuple[Workloop, ...]
    backoff: Backoff
    defaults: RunDefaults
    reply_s: float
    claim_s: float
    batches: LogBatches | None
    listen: str = ""
    quiet: bool = False
    ignored: tuple[str, ...] = ()


def read_environment(
    variables: Mapping[str, str], capacity: int | None = None, *, batch_logs: bool = False
) -> EnvironmentSettings:
    """Read the settings; ``capacity`` is that of the command, which wins, as is ``batch_logs``.

    Raises :class:`UsageError` for a value that has no meaning.
    """
    number = _numbers(variables)
    return EnvironmentSettings(
        secret=variables.get("WORKER_SECRET", ""),
        public_key=variables.get("WORKER_LIGHTNING_PUBLIC_KEY", ""),
        workloops=_workloops(variables, capacity),
        backoff=parse_backoff(variables.get("WORKER_BACKOFF") or "1/10"),
        defaults=RunDefaults(
            limits=Limits(
                timeout_s=number("WORKER_MAX_RUN_DURATION_SECONDS", 300),
                memory_mb=int(number("WORKER_MAX_RUN_MEMORY_MB", 500)),
                payload_mb=number("WORKER_MAX_PAYLOAD_MB", 10),
                log_payload_mb=number("WORKER_MAX_LOG_PAYLOAD_MB", 1),
            ),
            collections_url=variables.get("WORKER_COLLECTIONS_URL", ""),
        ),
        # The older name wins, as it does for OpenFn's worker.
        reply_s=number(
            "WORKER_SOCKET_TIMEOUT_SECONDS", number("WORKER_MESSAGE_TIMEOUT_SECONDS", 30)
        ),
        claim_s=number("WORKER_CLAIM_TIMEOUT_SECONDS", 3600),
        batches=_batches(number)
        if batch_logs or _is_true(variables, "WORKER_BATCH_LOGS")
        else None,
        listen=_listen(variables.get("WORKER_PORT", "")),
        quiet=variables.get("WORKER_LOG_LEVEL", "").lower() in _QUIET_LEVELS,
        ignored=tuple(name for name in NO_MEANING if variables.get(name)),
    )


def _is_true(variables: Mapping[str, str], name: str) -> bool:
    return variables.get(name, "").lower() in ("1", "true", "yes")


def _batches(number: Callable[[str, float], float]) -> LogBatches:
    # The server refuses a larger batch.
    lines = min(int(number("WORKER_BATCH_LIMIT", MAX_BATCH_LINES)), MAX_BATCH_LINES)
    return LogBatches(lines=max(1, lines), wait_s=number("WORKER_BATCH_INTERVAL", 10) / _MS_PER_S)


def _workloops(variables: Mapping[str, str], capacity: int | None) -> tuple[Workloop, ...]:
    text = variables.get("WORKER_WORKLOOPS")
    if text and (capacity is not None or variables.get("WORKER_CAPACITY")):
        raise UsageError("a capacity and WORKER_WORKLOOPS exclude each other: set one of them")
    if text:
        return parse_workloops(text)
    default = int(_numbers(variables)("WORKER_CAPACITY", DEFAULT_CAPACITY))
    return (Workloop(DEFAULT_QUEUES, capacity or max(1, default)),)


def _listen(port: str) -> str:
    """Return the address to serve health on: as for OpenFn's worker, every one of the machine."""
    if not port:
        return ""
    if not (port.isdecimal() and 0 < int(port) < 65536):
        raise UsageError(f"WORKER_PORT is '{port}': expected a number from 1 to 65535")
    return f"0.0.0.0:{port}"


def _numbers(variables: Mapping[str, str]) -> Callable[[str, float], float]:
    def number(name: str, default: float) -> float:
        text = variables.get(name)
        try:
            value = float(text) if text else default
        except ValueError:
            value = -1.0
        if not 0 < value < float("inf"):
            raise UsageError(f"{name} is '{text}': expected a number above 0")
        return value

    return number
