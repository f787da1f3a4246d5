"""Snapshot of a fleet, queried from the control plane."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.fleet.client import Client
from worker.fleet.control_errors import ControlError
from worker.fleet.messaging.client_messages import OrderQuery
from worker.fleet.monitor.run_tracker import RunTracker, TrackedRun

# Active runs that are shown, and queried where no notification reported them.
MAX_RUNNING = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """State of a fleet. ``statuses`` counts orders; ``waiting`` and ``leased`` count runs."""

    statuses: Mapping[str, int]
    waiting: int
    leased: int
    workers: Sequence[Mapping[str, Any]]
    alerts: Sequence[Mapping[str, Any]]
    running: Sequence[TrackedRun]


async def take_snapshot(client: Client, tracker: RunTracker) -> Snapshot:
    """Query the state of the fleet. Raises :class:`worker.fleet.control_errors.NoAnswer`."""
    # In parallel: the screen is drawn each second, and each request is a round trip.
    summary, workers, alerts, orders = await asyncio.gather(
        client.summary(),
        client.workers(),
        client.alerts(),
        client.orders(OrderQuery(status="running", limit=MAX_RUNNING)),
    )
    runs = await asyncio.gather(*(_running(client, tracker, order["last_run"]) for order in orders))
    return Snapshot(
        statuses=summary["orders"],
        waiting=summary["available"],
        leased=summary["leased"],
        workers=workers,
        alerts=alerts,
        running=[run for run in runs if run is not None],
    )


async def _running(client: Client, tracker: RunTracker, run_id: str) -> TrackedRun | None:
    if tracker.running(run_id) is None:
        try:
            tracker.add(await client.run(run_id))
        except ControlError:
            return None  # deleted in the meantime
    return tracker.running(run_id)
