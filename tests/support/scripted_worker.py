"""Executors that run nothing: they report the events that a test needs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from worker.core.events import AnyEvent, RunComplete, RunLog, RunStart, StepComplete, StepStart
from worker.core.outcome import StepError
from worker.fleet.messaging.worker_protocol import AssignedRun

Receive = Callable[[AnyEvent], None]


class EventSender:
    """Sender of the events of a run, which it numbers."""

    def __init__(self, run: AssignedRun, receive: Receive) -> None:
        self._run_id = run.lease.run_id
        self._receive = receive
        self._seq = 0

    def send(self, kind: type[AnyEvent], **fields: Any) -> None:
        now = time.time_ns() // 1000
        self._receive(kind(run_id=self._run_id, seq=self._seq, timestamp=now, **fields))
        self._seq += 1

    def begin(self, workflow: str, step: str, name: str = "") -> None:
        self.send(RunStart, workflow=workflow, versions={})
        self.send(
            StepStart,
            step_id="s-1",
            job_id=step,
            job_name=name or step,
            input_dataclip_id="c-0",
            execution=0,
        )

    def log(self, step: str, text: str, source: str = "JOB", level: str = "info") -> None:
        self.send(RunLog, source=source, level=level, message=text, step_id="s-1", job_id=step)

    def end(self, step: str, error: StepError | None = None, reason: str = "success") -> None:
        self.send(StepComplete, step_id="s-1", job_id=step, reason=reason, error=error, duration=9)
        self.send(RunComplete, reason=reason, error=error, duration=9)


class LoggingExecutor:
    """Executor that logs ``count`` lines in each run, ``rate`` a second; ``ended`` is when the last was."""

    def __init__(self, *, count: int, rate: float) -> None:
        self._count = count
        self._rate = rate
        self.ended = 0.0

    async def execute(self, run: AssignedRun, receive: Receive, cancel: asyncio.Event) -> None:
        sender = EventSender(run, receive)
        sender.begin("burst", "a")
        began = time.monotonic()
        for number in range(self._count):
            sender.log("a", f"line {number} of the burst")
            due = began + (number + 1) / self._rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        self.ended = time.monotonic()
        await cancel.wait()
        sender.end("a", reason="cancel")


class HostileExecutor:
    """Executor whose events have hostile texts in all of their fields."""

    def __init__(self, texts: dict[str, str]) -> None:
        self._texts = texts

    async def execute(self, run: AssignedRun, receive: Receive, cancel: asyncio.Event) -> None:
        sender = EventSender(run, receive)
        every = " ".join(self._texts.values())
        sender.begin(every, every, every)
        for text in self._texts.values():
            sender.log(every, text, source=text, level=text)
        error = StepError(type=every, message=every, name=every, stack=(every,))
        sender.end(every, error=error, reason="exception")
