"""What a run's process tells its parent: events numbered, dated, masked and within their limits."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from worker.core.error_json import error_to_dict
from worker.core.outcome import StepError
from worker.sandbox.clock import Clock
from worker.sandbox.dataclip import StateText, identifiers
from worker.sandbox.protocol import Out, RunRequest
from worker.util.masking import Mask


class EventWriter:
    """Numbers, dates, masks and sends the events of one run."""

    def __init__(self, request: RunRequest, out: Out, clock: Clock) -> None:
        self._out = out
        self._clock = clock
        self._limits = request.limits
        self._run_id = request.run_id
        self._ids = identifiers(request.seed)
        self._seq = 0
        self._lines = self._logged = 0
        self._silenced = False
        self.mask = Mask(request.secrets)

    def next_id(self) -> str:
        return next(self._ids)

    def emit(self, type: str, clip: str | None = None, **fields: Any) -> None:
        header = {
            "type": type,
            "run_id": self._run_id,
            "seq": self._seq,
            "timestamp": self._clock.now(),
            **fields,
        }
        self._seq += 1
        self._out.put(header, clip)

    def flush(self) -> None:
        """Let the parent know everything so far; due before anything that may take its time."""
        self._out.flush()

    def log(self, level: str, source: str, message: str, step_id: str, job_id: str) -> None:
        """Report a log line, within the limits of its size, of their number and of their sum."""
        if self._silenced:
            return
        # Masked before it is cut, or half a secret could stay behind.
        text = cut(self.mask.text(printable(message)), self._limits.log_payload)
        self._lines, self._logged = self._lines + 1, self._logged + len(text)
        if self._lines > self._limits.log_lines or self._logged > self._limits.log_total:
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
        """An error as the wire has it, without secrets and within the payload limit."""
        if error is None:
            return None
        text = self._error_text(error)
        if len(text) > self._limits.log_payload:
            masked_message = self.mask.text(error.message)
            short = replace(error, message=cut(masked_message, 10_000), details={}, cause=None)
            text = self._error_text(short)
        masked: dict[str, Any] = json.loads(text)
        return masked

    def _error_text(self, error: StepError) -> str:
        return self.mask.json(printable(json.dumps(error_to_dict(error), ensure_ascii=False)))

    def clip(self, state: StateText | None) -> tuple[str | None, bool]:
        """The text to send of a state, and whether it is withheld for its size."""
        if state is None:
            return None, False
        if self.too_large(state):
            return None, True
        return self.mask.json(state.text), False

    def too_large(self, state: StateText | None) -> bool:
        """Whether a state is over the payload limit."""
        return state is not None and size_of(state.text) > self._limits.payload


def size_of(text: str) -> int:
    """The size of a text in bytes, as it travels."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def cut(text: str, limit: int) -> str:
    """The text within ``limit`` characters, saying so where it was cut."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… (cut: {len(text)} characters, over the limit of {limit})"


def printable(text: str) -> str:
    """The text without halves of surrogate pairs, which no encoding can hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
