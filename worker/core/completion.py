"""How a run is completed when the process that ran it cannot do so itself."""

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
    """What was seen of a run so far: enough to refuse what does not fit, and to complete it."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.completed = False
        self._seq = 0
        self._began = 0
        self._open: StepStart | None = None

    @property
    def begun(self) -> bool:
        return self._seq > 0

    def accept(self, header: dict[str, Any], clip: str | None) -> AnyEvent:
        """The event of a frame. Raises ``ValueError`` on one that is malformed or out of turn."""
        if clip is not None:
            name = "final_state" if header.get("type") == RunComplete.type else "output_dataclip"
            header[name] = Dataclip(clip)
        event = from_dict(header)
        if event.run_id != self.run_id or event.seq != self._seq or self.completed:
            raise ValueError(f"event {event.type} {event.seq} where {self._seq} was due")
        self._note(event)
        return event

    def _note(self, event: AnyEvent) -> None:
        self._seq += 1
        match event:
            case RunStart():
                self._began = event.timestamp
            case StepStart():
                self._open = event
            case StepComplete():
                self._open = None
            case RunComplete():
                self.completed = True
            case _:
                pass

    def close(self, error: StepError, *, now: int, mem: int = 0) -> Iterator[AnyEvent]:
        """The events that end the run with ``error`` at ``now``; none where it has ended."""
        if self.completed:
            return
        if self._open is not None:
            yield self._close_step(self._open, error, now, mem)
        event = RunComplete(
            run_id=self.run_id,
            seq=self._seq,
            timestamp=now,
            reason=error.reason,
            error=error,
            mem=mem,
            duration=now - (self._began or now),
        )
        self._note(event)
        yield event

    def _close_step(self, started: StepStart, error: StepError, now: int, mem: int) -> StepComplete:
        event = StepComplete(
            run_id=self.run_id,
            seq=self._seq,
            timestamp=now,
            step_id=started.step_id,
            job_id=started.job_id,
            reason=error.reason,
            error=error,
            mem=mem,
            duration=now - started.timestamp,
        )
        self._note(event)
        return event
