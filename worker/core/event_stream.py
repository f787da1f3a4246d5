"""Completion of a run whose process has ended before it completed the run itself."""

from __future__ import annotations

from collections.abc import Iterator

from worker.core.events import (
    AnyEvent,
    RunComplete,
    RunStart,
    StepComplete,
    StepStart,
)
from worker.core.outcome import StepError


class EventStream:
    """The events of one run so far: rejects one that is out of order, and can complete the run."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.completed = False
        self._next_seq = 0
        self._started_at = 0
        self._running: StepStart | None = None

    @property
    def started(self) -> bool:
        """True after the first event."""
        return self._next_seq > 0

    def check(self, event: AnyEvent) -> None:
        """Take the next event. Raises ``ValueError`` if it is of another run or out of order."""
        self.expect(event)
        self.record(event)

    def expect(self, event: AnyEvent) -> None:
        """Raise ``ValueError`` for an event that is of another run or out of order."""
        if self.completed:
            raise ValueError(f"event {event.type} {event.seq} after the end of the run")
        if event.run_id != self.run_id or event.seq != self._next_seq:
            raise ValueError(
                f"event {event.type} {event.seq} of run {event.run_id} "
                f"(expected event {self._next_seq} of run {self.run_id})"
            )

    def record(self, event: AnyEvent) -> None:
        """Take the next event, which was checked."""
        self._next_seq += 1
        # Not isinstance(), which takes longer for a type that does not fit.
        if type(event) is StepStart:
            self._running = event
        elif type(event) is StepComplete:
            self._running = None
        elif type(event) is RunStart:
            self._started_at = event.timestamp
        elif type(event) is RunComplete:
            self.completed = True

    def complete(
        self, error: StepError, *, now_us: int, memory_bytes: int = 0
    ) -> Iterator[AnyEvent]:
        """Yield the events that end the run with ``error``; none if it has ended already.

        ``now_us`` is in microseconds since the epoch; ``memory_bytes`` is the run's peak memory.
        """
        if self.completed:
            return
        if self._running is not None:
            # Every step:start needs its step:complete, and consumers pair the two.
            yield self._complete_step(self._running, error, now_us, memory_bytes)
        event = RunComplete(
            run_id=self.run_id,
            seq=self._next_seq,
            timestamp=now_us,
            reason=error.reason,
            error=error,
            mem=memory_bytes,
            duration=_elapsed_us(self._started_at or now_us, now_us),
        )
        self.record(event)
        yield event

    def _complete_step(
        self, started: StepStart, error: StepError, now_us: int, memory_bytes: int
    ) -> StepComplete:
        event = StepComplete(
            run_id=self.run_id,
            seq=self._next_seq,
            timestamp=now_us,
            step_id=started.step_id,
            job_id=started.job_id,
            reason=error.reason,
            error=error,
            mem=memory_bytes,
            duration=_elapsed_us(started.timestamp, now_us),
        )
        self.record(event)
        return event


def _elapsed_us(begin: int, end: int) -> int:
    # A run on a virtual clock may have started later than the time of the machine that ends it.
    return max(0, end - begin)
