"""Flaky cases: those that end otherwise with another clock, other chance or other delays."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from worker.replay.divergence import first_divergence
from worker.testing.case import Case
from worker.testing.case_runner import CaseResult, run_cases_in_parallel


class Cause(StrEnum):
    """What a variation of a case changes; everything else is as before."""

    CHANCE = "other random numbers"
    CLOCK = "another time"
    DELAYS = "other delays of replies"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flakiness:
    """First difference of a case under variations, with what caused it.

    A case that ``fails`` under a variation misses an expectation; otherwise only a state, a log or
    an edge differs.
    """

    case: Case
    cause: Cause
    detail: str
    message: str
    fails: bool


# Replies of a rule that have delays of their own; the next ones repeat them.
_REPLIES = 7

# Moments at which dates are known to go wrong: ends of days, months and years, leap days, changes
# of summer time, and the end of 32-bit time.
_MOMENTS = tuple(
    datetime.fromisoformat(text).replace(tzinfo=UTC)
    for text in (
        *("2026-12-31T23:59:59", "2028-02-29T12:00:00", "2027-03-01T00:00:00"),
        *("2026-03-29T01:30:00", "2026-10-25T01:30:00", "2026-05-31T21:30:00"),
        *("2038-01-19T03:14:08", "2026-01-01T00:00:00", "2027-08-15T06:00:00"),
    )
)


def variations(case: Case, count: int) -> Iterator[tuple[Cause, str, Case]]:
    """Yield variations of a case, each with its cause and a description; the same every time."""
    for number in range(count):
        yield Cause.CHANCE, f"run id {_run_id(number)}", replace(case, run_id=_run_id(number))
        # Beyond the list, the moments repeat in later years and at later times of the day.
        years, place = divmod(number, len(_MOMENTS))
        moment = _MOMENTS[place].replace(year=_MOMENTS[place].year + 4 * years)
        begins_at_us = int(moment.timestamp() * 1e6) + years * 3_600_000_000
        yield Cause.CLOCK, moment.isoformat(), replace(case, begins_at_us=begins_at_us)
        if case.http:
            chance = random.Random(number)  # noqa: S311 -- the same delays every time
            # Several for each rule: requests that are sent together get their replies in another
            # order.
            delays = [
                tuple(round(chance.uniform(0.0, 3.0), 3) for _ in range(_REPLIES))
                for _ in case.http
            ]
            http = zip(case.http, delays, strict=True)
            slow = tuple(replace(stub, more_delays_s=more) for stub, more in http)
            text = ", ".join(f"{more[0]:g} s" for more in delays)
            yield Cause.DELAYS, text, replace(case, http=slow)


def _run_id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number + 1:012x}"


async def find_flakiness(
    cases: Sequence[Case], count: int, jobs: int
) -> AsyncGenerator[Flakiness | None, None]:
    """Run cases under ``count`` variations of each cause; yield the first difference of each.

    An expectation that is missed comes before any other difference.
    """
    for case in cases:
        varied = list(variations(case, count))
        runs = run_cases_in_parallel([case, *(each for _, _, each in varied)], jobs, keep_runs=True)
        differences: list[Flakiness] = []
        async with aclosing(runs):
            base = await anext(runs)
            for cause, detail, _ in varied:
                result = await anext(runs)
                if (difference := _compare(base, result)) is not None:
                    message, fails = difference
                    differences.append(
                        Flakiness(
                            case=case, cause=cause, detail=detail, message=message, fails=fails
                        )
                    )
        failing = (difference for difference in differences if difference.fails)
        yield next(failing, differences[0] if differences else None)


def _compare(base: CaseResult, result: CaseResult) -> tuple[str, bool] | None:
    """Return the first difference, and whether it is a missed expectation."""
    if result.mismatches and not base.mismatches:
        return result.mismatches[0], True
    for first, second in zip(base.results, result.results, strict=False):
        divergence = first_divergence(first.events, second.events)
        if divergence is not None:
            place = f" at '{divergence.step}'" if divergence.step else ""
            return f"{divergence.kind}{place}: {divergence.message}", False
    return None
