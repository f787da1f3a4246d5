"""Forecasts of a fleet's capacity, for ``worker simulate --rate``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from worker.cli.text_table import table_lines, terminal_width
from worker.errors import UsageError
from worker.testing.simulation.capacity import (
    Demand,
    Forecast,
    default_slots,
    forecast,
)
from worker.util.plural import count_of

MAX_RUNS_PER_DAY = 1e6
MAX_PLANES = 20
_UNITS_S = {"s": 1.0, "second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86_400.0}
_RATE = re.compile(r"(\d+(?:\.\d+)?(?:[eE]\+?\d{1,3})?)/(\w+)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)(B|kB|MB)")
_SIZES = {"B": 1.0, "kB": 1e3, "MB": 1e6}
_PLANES = re.compile(r"(\d{1,3})(?:\.\.(\d{1,3}))?")
_MAX_SIZE_BYTES = 1e9


def parse_rate(text: str) -> float:
    """Parse ``1e6/day`` as runs a day. Raises :class:`UsageError`."""
    match = _RATE.fullmatch(text)
    unit_s = _UNITS_S.get(match[2]) if match else None
    if match is None or unit_s is None:
        raise UsageError(f"--rate {text}: expected runs in a time, such as 1e6/day or 5/second")
    runs = float(match[1]) * 86_400 / unit_s
    if not 1 <= runs <= MAX_RUNS_PER_DAY:
        raise UsageError(f"--rate {text}: expected 1 to {MAX_RUNS_PER_DAY:,.0f} runs a day")
    return runs


def parse_size(text: str) -> float:
    """Parse ``20kB`` as bytes. Raises :class:`UsageError`."""
    match = _SIZE.fullmatch(text)
    if match is None or float(match[1]) * _SIZES[match[2]] > _MAX_SIZE_BYTES:
        raise UsageError(f"--size {text}: expected a size up to 1000MB, such as 20kB")
    return float(match[1]) * _SIZES[match[2]]


def parse_planes(text: str) -> range:
    """Parse ``1..20`` or ``3``. Raises :class:`UsageError`."""
    match = _PLANES.fullmatch(text)
    first = int(match[1]) if match else 0
    last = int(match[2] or first) if match else 0
    if not 1 <= first <= last <= MAX_PLANES:
        raise UsageError(f"--planes {text}: expected 1 to {MAX_PLANES}, such as 3 or 1..20")
    return range(first, last + 1)


def capacity_lines(
    *, rate: str, run_time_s: float, size: str, planes: str, slots: int | None, core_price: float
) -> Iterator[str]:
    """Format the forecast for each number of control planes, in lines."""
    runs_per_day = parse_rate(rate)
    demand = Demand(
        runs_per_day=runs_per_day,
        run_s=run_time_s,
        size_bytes=parse_size(size),
        slots=slots or default_slots(runs_per_day, run_time_s),
    )
    forecasts = [forecast(demand, count) for count in parse_planes(planes)]
    yield (
        f"{demand.runs_per_day:,.0f} runs a day of {run_time_s:g} s, states of {size}, "
        f"{count_of(demand.slots, 'slot')} of workers"
    )
    yield "cores in use: " + ", ".join(
        f"{part} {load:.2f}" for part, load in forecasts[0].loads.items()
    )
    yield f"the database grows by {forecasts[0].database_bytes_per_day / 1e9:,.2f} GB a day"
    yield ""
    heading = ("planes", "limit", "queue", "wait p50", "wait p99", "cores", "cost a day")
    yield from table_lines(
        [heading, *(_row(entry, core_price) for entry in forecasts)], terminal_width()
    )


def _row(entry: Forecast, core_price: float) -> tuple[str, ...]:
    cost = f"{entry.cores * 24 * core_price:,.2f}"
    if not entry.stable:
        return str(entry.planes), entry.limit, "grows", "-", "-", str(entry.cores), cost
    waits = (f"{wait_s:.3f} s" for wait_s in (entry.wait_p50_s, entry.wait_p99_s))
    return str(entry.planes), entry.limit, f"{entry.queue:.1f}", *waits, str(entry.cores), cost
