"""Writer of a run's events: numbers, dates and masks them, and enforces their limits."""

from __future__ import annotations

import json
from typing import Any

from msgspec.structs import replace

from worker.core.error_json import error_to_dict, mask_error
from worker.core.outcome import StepError
from worker.sandbox.clock import Clock
from worker.sandbox.dataclip import StateText, generate_ids
from worker.sandbox.protocol import FrameSink, RunRequest
from worker.util.masking import Mask

SHORT_MESSAGE = 10_000
"""Characters that stay of the message of an error over the payload limit."""
SHORT_NAME = 200
"""Characters that stay of the name of such an error, if it is still too long."""


class EventWriter:
    """Writes the events of one run into a sink."""

    def __init__(self, request: RunRequest, sink: FrameSink, clock: Clock) -> None:
        self._sink = sink
        self._clock = clock
        self._limits = request.limits
        self._run_id = request.run_id
        self._ids = generate_ids(request.seed)
        self._seq = 0
        self._log_lines = self._log_size = 0
        self._silenced = False
        self.mask = Mask(request.secrets)

    def next_id(self) -> str:
        return next(self._ids)

    def emit(self, type: str, dataclip: str | None = None, **fields: Any) -> None:
        """Write an event; it is sent with the next :meth:`flush`."""
        header = {
            "type": type,
            "run_id": self._run_id,
            "seq": self._seq,
            "timestamp": self._clock.now_us(),
            **fields,
        }
        self._seq += 1
        self._sink.put(header, dataclip)

    def flush(self) -> None:
        """Send what was written so far.

        Call it before anything that may take long or kill the process: the parent completes a run
        from the events that it has.
        """
        self._sink.flush()

    def log(self, level: str, source: str, message: str, step_id: str, job_id: str) -> None:
        """Write a log line, within the limits of its size, of all lines' number and size."""
        if self._silenced:
            return
        # Masked before it is cut: half a secret would not be recognised any more.
        text = cut(self.mask.text(printable(message)), self._limits.log_payload_bytes)
        self._log_lines, self._log_size = self._log_lines + 1, self._log_size + len(text)
        if (
            self._log_lines > self._limits.log_lines
            or self._log_size > self._limits.log_total_bytes
        ):
            self._silenced = True
            level, source, text = "warn", "R/T", "too many log lines: no more are reported"
        self.emit(
            "run:log",
            source=source,
            level=level,
            message=text,
            step_id=step_id,
            job_id=job_id,
        )
        self.flush()

    def error(self, error: StepError | None) -> dict[str, Any] | None:
        """Convert an error to JSON data, masked and within the log payload limit."""
        if error is None:
            return None
        text = self._error_text(error)
        if len(text) > self._limits.log_payload_bytes:
            masked_message = self.mask.text(error.message)
            short = replace(
                error, message=cut(masked_message, SHORT_MESSAGE), details={}, cause=None
            )
            text = self._error_text(short)
            if len(text) > self._limits.log_payload_bytes:
                name = cut(self.mask.text(error.name), SHORT_NAME)
                text = self._error_text(replace(short, name=name, position=None, stack=()))
        fields: dict[str, Any] = json.loads(text)
        return fields

    def _error_text(self, error: StepError) -> str:
        masked = mask_error(error, lambda text: self.mask.json(printable(text)))
        return printable(json.dumps(error_to_dict(masked), ensure_ascii=False))

    def dataclip(self, state: StateText | None) -> tuple[str | None, bool]:
        """Return the dataclip of a state, masked, and True if its size withholds it."""
        if state is None:
            return None, False
        if self.too_large(state):
            return None, True
        return self.mask.json(state.text), False

    def too_large(self, state: StateText | None) -> bool:
        return state is not None and size_of(state.text) > self._limits.payload_bytes


def size_of(text: str) -> int:
    """Count the bytes of a text in UTF-8."""
    # isascii() is a flag of the string, so most states are measured without being encoded.
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def cut(text: str, limit: int) -> str:
    """Cut a text after ``limit`` characters, with a note."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… (cut: {len(text)} characters, over the limit of {limit})"


def printable(text: str) -> str:
    """Replace halves of surrogate pairs, which UTF-8 cannot encode, by ``?``."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
