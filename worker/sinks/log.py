"""Structured log of events on stderr, for services and for ``--json``."""

from __future__ import annotations

import contextlib
import errno
import logging
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from worker.core.events import AnyEvent, RunComplete, RunLog, StepComplete
from worker.core.outcome import StepError
from worker.core.status import STATUS_OF_REASON, Status
from worker.sinks.terminal_text import printable

if TYPE_CHECKING:
    import structlog

_LEVELS = {"debug": logging.DEBUG, "warn": logging.WARNING, "error": logging.ERROR}


class LeveledLogger(Protocol):
    """The methods of a structlog logger that services use."""

    def critical(self, event: str, **fields: Any) -> Any: ...

    def warning(self, event: str, **fields: Any) -> Any: ...

    def info(self, event: str, **fields: Any) -> Any: ...


class LogStream:
    """Stream of a log, which drops what comes after its terminal or its reader is gone.

    A process that ends because of that logs its end: the log must not prevent it. On a terminal
    each text is one line without control characters, as messages and topics come from strangers.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with _unless_gone():
            self._stream.write(_one_line(text) if self._stream.isatty() else text)
        return len(text)

    def flush(self) -> None:
        with _unless_gone():
            self._stream.flush()


def _one_line(text: str) -> str:
    line, end, rest = text.rpartition("\n")
    return f"{printable(line)}{end}{printable(rest)}"


@contextlib.contextmanager
def _unless_gone() -> Iterator[None]:
    """Suppress the errors of a terminal that is closed and of a pipe without a reader."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EIO, errno.EPIPE):
            raise


def stderr_logger(level: int = logging.INFO) -> structlog.typing.FilteringBoundLogger:
    """Create a structlog logger that writes JSON to stderr, or plain text to a terminal."""
    # Imported late: it is slow to import, and most commands log nothing.
    import structlog

    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=False)
        if sys.stderr.isatty()
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    stream: Any = LogStream(sys.stderr)
    logger: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(stream),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
    )
    return logger


class LogSink:
    """Sink that logs each event; the end of a run as exception or lost is critical."""

    def __init__(self, level: int = logging.INFO) -> None:
        self._log = stderr_logger(level)

    def receive(self, event: AnyEvent) -> None:
        fields = {"run_id": event.run_id, "seq": event.seq}
        match event:
            case RunLog():
                level = _LEVELS.get(event.level, logging.INFO)
                self._log.log(level, event.message, source=event.source, job=event.job_id, **fields)
            case StepComplete():
                level = logging.WARNING if event.error else logging.INFO
                self._log.log(
                    level, event.type, job=event.job_id, status=STATUS_OF_REASON[event.reason],
                    next=event.next, duration_us=event.duration, **_error(event.error), **fields,
                )  # fmt: skip
            case RunComplete():
                self._log.log(
                    severity(event.status), event.type, status=event.status,
                    duration_us=event.duration, **_error(event.error), **fields,
                )  # fmt: skip
            case _:
                self._log.debug(event.type, **fields)

    def close(self) -> None:
        """Do nothing: each event is written at once."""


def severity(status: Status) -> int:
    """Choose the log level for the end of a run."""
    # OpenFn alerts the superuser of these two, and of no other status.
    if status in (Status.EXCEPTION, Status.LOST):
        return logging.CRITICAL
    return logging.INFO if status in (Status.SUCCESS, Status.CANCELLED) else logging.WARNING


def _error(error: StepError | None) -> dict[str, str]:
    return {"error_type": error.type, "error_message": error.message} if error else {}
