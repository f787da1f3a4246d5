"""Validation of a run's event stream, and its completion if the run's process cannot do it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from worker.core.events import (
    AnyEvent,
    Dataclip,
    RunComplete,
    RunStart,
    StepComplete,
    StepStart,
    from_dict,
)
from worker.core.outcome import StepError


class EventStream:
    """Events of one run so far: rejects those out of order, and completes the run on demand."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.completed = False
        self._seq = 0
        self._started_at_us = 0
        self._open: StepStart | None = None

    @property
    def started(self) -> bool:
        return self._seq > 0

    def accept(self, header: dict[str, Any], clip: str | None) -> AnyEvent:
        """Decode the event in a frame of the run's process.

        Raises ``ValueError`` if it is malformed, of another run, or out of sequence.
        """
        # A job may have taken over its process: nothing in a frame is trusted.
        # Dataclips travel outside of the header, so that nobody on the way has to parse them.
        if clip is not None:
            name = "final_state" if header.get("type") == RunComplete.type else "output_dataclip"
            header[name] = Dataclip(clip)
        event = from_dict(header)
        if event.run_id != self.run_id or event.seq != self._seq or self.completed:
            raise ValueError(f"unexpected event {event.type} {event.seq} (expected {self._seq})")
        self._record(event)
        return event

    def _record(self, event: AnyEvent) -> None:
        self._seq += 1
        match event:
            case RunStart():
                self._started_at_us = event.timestamp
            case StepStart():
                self._open = event
            case StepComplete():
                self._open = None
            case RunComplete():
                self.completed = True
            case _:
                pass

    def complete(
        self, error: StepError, *, now_us: int, memory_bytes: int = 0
    ) -> Iterator[AnyEvent]:
        """End the run with ``error``: the missing events, or none if it has ended already.

        ``now_us`` is in microseconds since the epoch; ``memory_bytes`` is the run's peak memory.
        """
        if self.completed:
            return
        if self._open is not None:
            # Each step:start needs its step:complete, also where the step's process is gone.
            yield self._complete_step(self._open, error, now_us, memory_bytes)
        event = RunComplete(
            run_id=self.run_id,
            seq=self._seq,
            timestamp=now_us,
            reason=error.reason,
            error=error,
            mem=memory_bytes,
            duration=now_us - (self._started_at_us or now_us),
        )
        self._record(event)
        yield event

    def _complete_step(
        self, started: StepStart, error: StepError, now_us: int, memory_bytes: int
    ) -> StepComplete:
        event = StepComplete(
            run_id=self.run_id,
            seq=self._seq,
            timestamp=now_us,
            step_id=started.step_id,
            job_id=started.job_id,
            reason=error.reason,
            error=error,
            mem=memory_bytes,
            duration=now_us - started.timestamp,
        )
        self._record(event)
        return event
