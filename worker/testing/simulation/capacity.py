"""Capacity of a fleet: a queueing model of its parts, as a discrete-event simulation.

A run passes the broker, a control plane and the database, waits for a slot of a worker, executes,
and passes them again with its reports. Each part serves in the order of arrival, with as many
servers as it has cores. Orders arrive at random (a Poisson process), and the times of runs vary as
an exponential distribution does. The same seed gives the same result.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# Processor seconds that one run of three steps costs each part, and what a larger state adds for
# each byte. Measured by `python -m bench.capacity`: see docs/explanation/capacity.md.
RUN_S: Mapping[str, float] = {
    "broker": 0.0009,
    "control plane": 0.0239,
    "database": 0.0103,
    "worker": 0.0075,
}
BYTE_S: Mapping[str, float] = {
    "broker": 5e-9,
    "control plane": 2.8e-7,
    "database": 1.2e-7,
    "worker": 1.3e-7,
}
RUN_BYTES = 8_500
"""Database of one run without its states, indexes included."""

# An assumption, for input and outputs of text that the database compresses a little. What repeats
# itself takes far less.
STATES_PER_RUN = 1.5
LIMIT = 0.7
"""Share of a core up to which a part is planned: beyond it, the queue grows quickly."""

_SIMULATED_RUNS = 2_500
_WARM_UP = 300
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Orders for a fleet: runs a day, seconds of one and bytes of its states, and ``slots``."""

    runs_per_day: float
    run_s: float
    size_bytes: float
    slots: int

    @property
    def runs_per_s(self) -> float:
        return self.runs_per_day / DAY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Behaviour of a fleet with so many control planes.

    ``loads`` are the cores in use, by part; ``stable`` is false where a queue grows without end:
    then the waits and the queue are those at the end of what was simulated.
    """

    planes: int
    loads: Mapping[str, float]
    limit: str
    stable: bool
    queue: float
    wait_p50_s: float
    wait_p99_s: float
    database_bytes_per_day: float
    cores: int


def default_slots(runs_per_day: float, run_s: float) -> int:
    """Return the slots of workers that are busy for ``LIMIT`` of the time."""
    return max(1, math.ceil(runs_per_day / DAY_S * run_s / LIMIT))


def costs(size_bytes: float) -> dict[str, float]:
    """Return the processor seconds of one run, by part."""
    return {part: cost + BYTE_S[part] * size_bytes for part, cost in RUN_S.items()}


def forecast(demand: Demand, planes: int, seed: int = 1) -> Forecast:
    """Simulate a fleet with so many control planes."""
    cost = costs(demand.size_bytes)
    loads = {part: cost[part] * demand.runs_per_s for part in cost}
    # A broker has one core, as mosquitto has; the database and the workers as many as they need.
    servers = {
        "broker": 1,
        "control plane": planes,
        "database": _cores(loads["database"]),
        "slots": demand.slots,
    }
    uses = {
        "broker": loads["broker"],
        "control plane": loads["control plane"],
        "database": loads["database"],
        "slots": demand.runs_per_s * demand.run_s,
    }
    limit = max(uses, key=lambda part: uses[part] / servers[part])
    waits = sorted(_waits(demand, cost, servers, seed))
    return Forecast(
        planes=planes,
        loads=loads,
        limit=limit,
        stable=uses[limit] < servers[limit],
        # Little's law: what waits is the rate of arrivals by the time that each waits.
        queue=demand.runs_per_s * sum(waits) / len(waits),
        wait_p50_s=waits[len(waits) // 2],
        wait_p99_s=waits[len(waits) * 99 // 100],
        database_bytes_per_day=demand.runs_per_day
        * (RUN_BYTES + STATES_PER_RUN * demand.size_bytes),
        cores=1 + planes + servers["database"] + _cores(loads["worker"]),
    )


def _cores(load: float) -> int:
    return max(1, math.ceil(load / LIMIT))


class _Part:
    """Servers with one queue."""

    def __init__(self, servers: int) -> None:
        self._free_at = [0.0] * servers

    def serve(self, now_s: float, duration_s: float) -> float:
        """Serve an arrival; return when it is done. Arrivals come in the order of time."""
        begin_s = max(now_s, heapq.heappop(self._free_at))
        heapq.heappush(self._free_at, begin_s + duration_s)
        return begin_s + duration_s


def _waits(
    demand: Demand, cost: Mapping[str, float], servers: Mapping[str, int], seed: int
) -> Iterator[float]:
    """Yield the seconds from each order to the end of its run, less those of the run itself."""
    draws = random.Random(seed)  # noqa: S311 -- the same orders every time
    parts = {name: _Part(count) for name, count in servers.items()}
    # Half of the work of each part comes before the run, half with its reports.
    way = [(part, cost[part] / 2) for part in ("broker", "control plane", "database")]
    arrived_s = 0.0
    # Time, number of the run, next stage, the run's own seconds, its arrival.
    events: list[tuple[float, int, int, float, float]] = []
    for number in range(_SIMULATED_RUNS + _WARM_UP):
        arrived_s += draws.expovariate(demand.runs_per_s)
        run_s = draws.expovariate(1 / demand.run_s)
        events.append((arrived_s, number, 0, run_s, arrived_s))
    heapq.heapify(events)
    while events:
        now_s, number, stage, run_s, began_s = heapq.heappop(events)
        stages = [*way, ("slots", run_s), *way]
        if stage == len(stages):
            if number >= _WARM_UP:
                yield max(0.0, now_s - began_s - run_s)
            continue
        part, duration_s = stages[stage]
        done_s = parts[part].serve(now_s, duration_s)
        heapq.heappush(events, (done_s, number, stage + 1, run_s, began_s))
