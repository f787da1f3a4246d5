"""What is asked of a control plane to see a whole fleet at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.fleet.client import Client, ControlError
from worker.fleet.messaging.messages import OrderQuery
from worker.fleet.monitor.run_tracker import RunTracker, TrackedRun

SHOWN = 12
"""How many of the runs that go are shown, and looked up where nothing was heard of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """``statuses`` counts orders by their status; ``waiting`` and ``leased`` count runs."""

    statuses: Mapping[str, int]
    waiting: int
    leased: int
    workers: Sequence[Mapping[str, Any]]
    alerts: Sequence[Mapping[str, Any]]
    going: Sequence[TrackedRun]


async def snapshot(client: Client, ledger: RunTracker) -> Snapshot:
    """Ask for everything. Raises :class:`worker.fleet.client.NoAnswer`."""
    summary, workers, alerts, orders = await asyncio.gather(
        client.summary(),
        client.workers(),
        client.alerts(),
        client.orders(OrderQuery(status="running", limit=SHOWN)),
    )
    found = await asyncio.gather(*(_going(client, ledger, order["last_run"]) for order in orders))
    return Snapshot(
        statuses=summary["orders"],
        waiting=summary["available"],
        leased=summary["leased"],
        workers=workers,
        alerts=alerts,
        going=[one for one in found if one is not None],
    )


async def _going(client: Client, ledger: RunTracker, run_id: str) -> TrackedRun | None:
    if ledger.going(run_id) is None:
        try:
            ledger.learn(await client.run(run_id))
        except ControlError:
            return None  # forgotten meanwhile
    return ledger.going(run_id)
