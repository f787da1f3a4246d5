"""The runs that a case comes to: one, its retries, and what its schedule fires.

A case is played as a generator: it yields each :class:`Turn`, is sent the result of that run, and
returns all results. So the same rules serve every way of running a turn.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from worker.adaptors.http.stub_host import StubHost
from worker.core.execution import executions
from worker.core.scripted import later
from worker.core.status import Status
from worker.runner.prepare import Options
from worker.runner.result import Result
from worker.sandbox.clock import ClockKind
from worker.sandbox.host import Host
from worker.testing.case import Case, Schedule

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One run of a case that is due."""

    case: Case
    input: Mapping[str, Any]
    options: Options
    number: int
    host: Host

    @property
    def run_id(self) -> str:
        """The same for the same turn, and with it the run's ids and random numbers."""
        if self.case.run_id and not self.number:
            return self.case.run_id
        name = f"{self.case.file}\0{self.case.index}\0{self.case.name}\0{self.number}"
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
        return str(uuid.UUID(bytes=digest[:16], version=4))


Play = Generator[Turn, Result, tuple[Result, ...]]


def play(case: Case) -> Play:
    """The runs of a case, one after the other."""
    results: list[Result] = []
    host = StubHost(case.http)
    input = case.input
    for at in _moments(case):
        result = yield from _order(case, input, at, results, host)
        if result.status is Status.SUCCESS and isinstance(result.final_state, dict):
            input = result.final_state
    return tuple(results)


def _order(
    case: Case, input: Mapping[str, Any], at: int, results: list[Result], host: Host
) -> Generator[Turn, Result, Result]:
    """A work order: a run, and its retries while it does not succeed. The last run decides."""
    start, clips = case.start, dict[str, Any]()
    for tries_left in range(case.retry.times, -1, -1):
        options = _options(case, start, at, results)
        result = yield Turn(case=case, input=input, options=options, number=len(results), host=host)
        results.append(result)
        if result.status is Status.SUCCESS or not tries_left:
            break
        at += result.duration + int(case.retry.after_s * 1e6)
        if case.retry.start:
            # A run that never came so far is tried from where it began.
            clips |= _inputs(result, input)
            if case.retry.start in clips:
                start, input = case.retry.start, clips[case.retry.start]
    return result


def _options(case: Case, start: str, at: int, results: list[Result]) -> Options:
    counts = Counter(entry.step for result in results for entry in result.path)
    script = later(case.script, counts) if counts else case.script
    return Options(
        limits=case.limits,
        credentials=case.credentials,
        script=script,
        start=start,
        end=case.end,
        clock=ClockKind.VIRTUAL,
        start_at=at,
    )


def _inputs(result: Result, input: Mapping[str, Any]) -> dict[str, Any]:
    """What each step of a run was given when it ran first."""
    inputs: dict[str, Any] = {}
    for run in executions(result.events):
        inputs.setdefault(run.job_id, input if run.input is None else json.loads(run.input.text))
    return inputs


def _moments(case: Case) -> Iterator[int]:
    """When the runs that are not retries begin, in microseconds since the epoch."""
    if case.schedule is None:
        yield case.at
    else:
        yield from _firings(case.schedule, case.at)


def _firings(schedule: Schedule, after: int) -> Iterator[int]:
    from cronsim import CronSim

    times = CronSim(schedule.expression, EPOCH + timedelta(microseconds=after))
    for _ in range(schedule.times):
        yield (next(times) - EPOCH) // timedelta(microseconds=1)
