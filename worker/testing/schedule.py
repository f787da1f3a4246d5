"""Runs of a case: the first, its retries, and those that a cron trigger starts.

The schedule is a generator: it yields each :class:`ScheduledRun`, is sent the result of that run,
and returns all results. So the same rules serve every way of running one.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from worker.adaptors.collections.local_host import CollectionsHost
from worker.adaptors.collections.settings import LOCAL_URL, Collections
from worker.adaptors.collections.stores import MemoryStore
from worker.adaptors.http.stub_host import StubHost
from worker.core.execution import executions
from worker.core.scripted import remaining_script
from worker.core.status import Status
from worker.runner.prepare import Options
from worker.runner.result import Result
from worker.sandbox.clock import ClockKind
from worker.sandbox.parent.host import Host
from worker.testing.case import Case, CronSchedule


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledRun:
    """Run of a case that is due.

    ``run_id`` is the same each time, and with it the run's ids and random numbers.
    """

    case: Case
    input: Mapping[str, Any]
    options: Options
    run_id: str
    host: Host


def _run_id(case: Case, number: int) -> str:
    """Derive the id of a run; ``number`` counts the runs of the case from 0."""
    # The id of a recording belongs to its first run; retries need ids of their own.
    if case.run_id and not number:
        return case.run_id
    name = f"{case.file}\0{case.index}\0{case.name}\0{number}"
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    return str(uuid.UUID(bytes=digest[:16], version=4))


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRuns:
    """Results of all runs of a case, and its collections after them."""

    results: tuple[Result, ...]
    collections: Mapping[str, Mapping[str, Any]]


RunSchedule = Generator[ScheduledRun, Result, CaseRuns]


def scheduled_runs(case: Case) -> RunSchedule:
    """Schedule the runs of a case, each after the result of the one before."""
    results: list[Result] = []
    # One host for all runs: a stub's replies, and its `times`, are counted through the case.
    store = MemoryStore(case.collections or {})
    host = _host(case, store)
    input = case.input
    for begins_at_us in _starts_us(case):
        result = yield from _work_order(case, input, begins_at_us, results, host)
        if result.status is Status.SUCCESS and isinstance(result.final_state, dict):
            input = result.final_state
    return CaseRuns(results=tuple(results), collections=store.values())


def _host(case: Case, store: MemoryStore) -> Host:
    stubs = StubHost(case.http)
    return stubs if case.collections is None else CollectionsHost(store, stubs)


def _collections(case: Case) -> Collections | None:
    # A case that was written from a recording has the replies as stubs.
    is_stubbed = any(stub.url.startswith(LOCAL_URL) for stub in case.http)
    return Collections() if is_stubbed or case.collections is not None else None


def _work_order(
    case: Case, input: Mapping[str, Any], begins_at_us: int, results: list[Result], host: Host
) -> Generator[ScheduledRun, Result, Result]:
    """Yield a run, and its retries while it does not succeed; return the result of the last."""
    start_at, inputs = case.start_at, dict[str, Any]()
    for retries_left in range(case.retry.times, -1, -1):
        options = _options(case, start_at, begins_at_us, results)
        run_id = _run_id(case, len(results))
        result = yield ScheduledRun(
            case=case, input=input, options=options, run_id=run_id, host=host
        )
        results.append(result)
        if result.status is Status.SUCCESS or not retries_left:
            break
        begins_at_us += result.duration + int(case.retry.after_s * 1e6)
        if case.retry.start_at:
            inputs |= _inputs(result, input)
            # A step that no run came to yet has no input, so such a run is repeated as it was.
            if case.retry.start_at in inputs:
                start_at, input = case.retry.start_at, inputs[case.retry.start_at]
    return result


def _options(case: Case, start_at: str, begins_at_us: int, results: list[Result]) -> Options:
    counts = Counter(entry.step for result in results for entry in result.path)
    script = remaining_script(case.script, counts) if counts else case.script
    return Options(
        limits=case.limits,
        credentials=case.credentials,
        collections=_collections(case),
        script=script,
        start=start_at,
        end=case.stop_after,
        clock=ClockKind.VIRTUAL,
        clock_start_us=begins_at_us,
        fuel=case.fuel,
    )


def _inputs(result: Result, input: Mapping[str, Any]) -> dict[str, Any]:
    """Collect the input of the first execution of each step."""
    inputs: dict[str, Any] = {}
    for execution in executions(result.events):
        # The input of the run is no output of a step, so it is unknown here.
        value = input if execution.input is None else json.loads(execution.input.text)
        inputs.setdefault(execution.job_id, value)
    return inputs


def _starts_us(case: Case) -> Iterator[int]:
    if case.schedule is None:
        yield case.begins_at_us
    else:
        yield from _firings_us(case.schedule, case.begins_at_us)


def _firings_us(schedule: CronSchedule, after_us: int) -> Iterator[int]:
    from worker.fleet.control.triggers.cron_schedule import next_tick
    from worker.fleet.messaging.trigger_messages import CronTrigger

    trigger = CronTrigger(
        name="cron", start="", expression=schedule.expression, timezone=schedule.timezone
    )
    tick: int | None = after_us
    for _ in range(schedule.times):
        tick = None if tick is None else next_tick(trigger, tick)
        if tick is not None:
            yield tick
