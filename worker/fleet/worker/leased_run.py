"""A run that a worker executes under a lease: its events, on their way into its outbox."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from worker.core.events import AnyEvent, RunComplete
from worker.core.outcome import StepError
from worker.fleet.messaging.recorded_lines import ESCAPED_SIZE, attach
from worker.fleet.messaging.worker_protocol import Lease
from worker.fleet.worker.event_receiver import RecordedLines
from worker.fleet.worker.event_size import encode_within
from worker.fleet.worker.outbox import RunOutbox
from worker.util import invariant_checks
from worker.util.invariant_checks import Invariant
from worker.util.machine_clock import now_us


@dataclass(slots=True)
class LeasedRun:
    """A run that this worker executes. Its events are dropped once it is not ``wanted``.

    ``began`` is in seconds, by a monotonic clock.
    """

    lease: Lease
    outbox: RunOutbox
    began: float
    cancel: asyncio.Event = field(default_factory=asyncio.Event)
    next_seq: int = 0
    wanted: bool = True

    def add(self, event: AnyEvent, recorded: RecordedLines | None, limit_bytes: int) -> None:
        """Add an event to the outbox, and as much of what was recorded as fits the message."""
        invariant_checks.require(Invariant.OUTBOX_WRITTEN, self._problem_of(event))
        self.next_seq = event.seq + 1
        last = isinstance(event, RunComplete)
        text = encode_within(event, limit_bytes)
        if recorded is not None:
            lines = recorded.take((limit_bytes - len(text)) // ESCAPED_SIZE, last=last)
            text = attach(text, lines) if lines else text
        self.outbox.add(text, last=last)

    def _problem_of(self, event: AnyEvent) -> str:
        """Return why an event must not enter the outbox; an empty text for a sound one."""
        # After a gap the control plane would accept nothing, and the run would be reported for
        # ever.
        if event.seq == self.next_seq and event.run_id == self.lease.run_id:
            return ""
        return (
            f"event {event.seq} of run {event.run_id} "
            f"instead of {self.next_seq} of {self.lease.run_id}"
        )

    def failure(self, error: Exception) -> RunComplete:
        """Build the end of a run that could not be executed, for a reason outside the run."""
        step_error = StepError(type=type(error).__name__, message=str(error) or "no message")
        return exception_end(self.lease, self.next_seq, step_error)


def exception_end(lease: Lease, seq: int, error: StepError) -> RunComplete:
    """Build the event with the number ``seq`` that ends a run as exception."""
    return RunComplete(
        run_id=lease.run_id, seq=seq, timestamp=now_us(), reason="exception", error=error
    )
