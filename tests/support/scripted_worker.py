"""Workers that run nothing: they tell what a test wants to be told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from worker.core.events import AnyEvent, RunComplete, RunLog, RunStart, StepComplete, StepStart
from worker.core.outcome import StepError
from worker.fleet.messaging import messages as wire

Receive = Callable[[AnyEvent], None]


class Teller:
    """The events of a run, numbered."""

    def __init__(self, run: wire.AssignedRun, receive: Receive) -> None:
        self._run_id = run.lease.run_id
        self._receive = receive
        self._seq = 0

    def tell(self, kind: type[AnyEvent], **fields: Any) -> None:
        now = time.time_ns() // 1000
        self._receive(kind(run_id=self._run_id, seq=self._seq, timestamp=now, **fields))
        self._seq += 1

    def begin(self, workflow: str, step: str, name: str = "") -> None:
        self.tell(RunStart, workflow=workflow, versions={})
        self.tell(
            StepStart,
            step_id="s-1",
            job_id=step,
            job_name=name or step,
            input_dataclip_id="c-0",
            execution=0,
        )

    def log(self, step: str, text: str, source: str = "JOB", level: str = "info") -> None:
        self.tell(RunLog, source=source, level=level, message=text, step_id="s-1", job_id=step)

    def end(self, step: str, error: StepError | None = None, reason: str = "success") -> None:
        self.tell(StepComplete, step_id="s-1", job_id=step, reason=reason, error=error, duration=9)
        self.tell(RunComplete, reason=reason, error=error, duration=9)


class Chatty:
    """Logs ``count`` lines at ``rate`` a second in each run, and keeps when it said the last."""

    def __init__(self, *, count: int, rate: float) -> None:
        self._count = count
        self._rate = rate
        self.ended = 0.0

    async def execute(self, run: wire.AssignedRun, receive: Receive, cancel: asyncio.Event) -> None:
        teller = Teller(run, receive)
        teller.begin("burst", "a")
        began = time.monotonic()
        for number in range(self._count):
            teller.log("a", f"line {number} of the burst")
            due = began + (number + 1) / self._rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        self.ended = time.monotonic()
        await cancel.wait()
        teller.end("a", reason="cancel")


class Hostile:
    """Says in each run everything that it can say, in the worst way."""

    def __init__(self, texts: dict[str, str]) -> None:
        self._texts = texts

    async def execute(self, run: wire.AssignedRun, receive: Receive, cancel: asyncio.Event) -> None:
        teller = Teller(run, receive)
        every = " ".join(self._texts.values())
        teller.begin(every, every, every)
        for text in self._texts.values():
            teller.log(every, text, source=text, level=text)
        error = StepError(type=every, message=every, name=every, stack=(every,))
        teller.end(every, error=error, reason="exception")
