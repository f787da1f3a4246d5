"""Checks of a storm's end: the rows of the database, the effects outside, the faults of workers."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from worker.core.status import STATUSES, Status
from worker.fleet.control.store import tables
from worker.fleet.control.store.store import Store

SEEN_LATE_S = 15.0
"""How much later than its change a state may be seen, as states come again after the broker did."""


@dataclass(slots=True)
class Fault:
    """A fault of a worker, from when to when, in seconds by a monotonic clock of the test."""

    worker: str
    began: float
    ended: float = math.inf


@dataclass(slots=True)
class Rows:
    """The rows of a database that are checked."""

    orders: list[dict[str, Any]]
    runs: dict[str, dict[str, Any]]
    events: list[dict[str, Any]]
    alerts: set[str]
    stale: int


def read_rows(url: str) -> Rows:
    """Read the rows of a database."""
    store = Store(url)
    events = select(
        tables.EVENTS.c.run_id, tables.EVENTS.c.attempt, tables.EVENTS.c.seq, tables.EVENTS.c.type
    ).order_by(tables.EVENTS.c.seq)
    with store.read() as connection:

        def rows(query: Any) -> list[dict[str, Any]]:
            return [dict(row) for row in connection.execute(query).mappings()]

        read = Rows(
            orders=rows(select(tables.ORDERS)),
            runs={row["id"]: row for row in rows(select(tables.RUNS))},
            events=rows(events),
            alerts={row["run_id"] for row in rows(select(tables.ALERTS))},
            stale=len(rows(select(tables.STALE_REPORTS.c.run_id))),
        )
    store.close()
    return read


def check(
    rows: Rows,
    *,
    runs: int,
    effects: Counter[str],
    cancelled: set[str],
    disturbed: list[Fault],
    times: dict[tuple[str, str], float],
) -> dict[str, Any]:
    """Check the invariants of the orders. Return the figures.

    ``times`` are when the state of a run was seen outside, by the run and its status.
    """
    assert len(rows.orders) == len(rows.runs) == runs, "each accepted order is there, with one run"
    starts, ends = _check_events(rows)
    hits = 0
    for order in rows.orders:
        run = rows.runs[order["last_run"]]
        assert order["status"] == run["status"], "an order has the status of its run"
        assert STATUSES[Status(run["status"])].final and run["phase"] == "final"
        assert starts[run["id"]] <= 1, "one attempt is started"
        assert ends[run["id"]] <= 1, "a run ends once"
        count = effects[order["id"]]
        assert count <= 1, f"the effect of {order['id']} happened {count} times: {run}"
        if run["status"] == "success":
            assert count == 1, f"{order['id']} is a success without its effect"
        hit = was_disturbed(run, disturbed, times)
        hits += hit
        allowed = {"success"}
        if order["id"] in cancelled:
            allowed.add("cancelled")
        if hit:
            allowed.add("lost")
        assert run["status"] in allowed, (run, order["id"] in cancelled, hit)
    lost = {run["id"] for run in rows.runs.values() if run["status"] == "lost"}
    assert rows.alerts == lost, "there is an alert for each lost run"
    return {
        "disturbed": hits,
        **Counter(str(run["status"]) for run in rows.runs.values()),
        "effects": effects.total(),
        "effects of lost runs": sum(effects[rows.runs[id]["order_id"]] for id in lost),
        "second attempts": sum(run["attempt"] > 1 for run in rows.runs.values()),
        "stale reports": rows.stale,
    }


def _check_events(rows: Rows) -> tuple[Counter[str], Counter[str]]:
    """Check that events have no gap; count the started attempts and the ends of each run."""
    last: dict[tuple[str, int], int] = {}
    ends: Counter[str] = Counter()
    for event in rows.events:
        key = event["run_id"], event["attempt"]
        assert last.get(key, -1) + 1 == event["seq"], f"a gap in the events of {key}"
        last[key] = event["seq"]
        ends[event["run_id"]] += event["type"] == "run:complete"
    return Counter(run_id for run_id, _ in last), ends


def was_disturbed(
    run: dict[str, Any], disturbed: list[Fault], times: dict[tuple[str, str], float]
) -> bool:
    """Return whether the run's worker had a fault between its start and its end.

    Where the times were not seen, as the broker was away, any fault of the worker counts.
    """
    began = times.get((run["id"], "running"), -math.inf)
    ended = times.get((run["id"], str(run["status"])), math.inf)
    return any(
        fault.worker == run["worker"]
        and fault.began <= ended
        and began - SEEN_LATE_S <= fault.ended
        for fault in disturbed
    )
