"""Waiting for the ends of orders, for many callers with one query."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from worker.fleet.control.triggers.order_result import OrderResult
from worker.fleet.control.triggers.signals import Signal

# Also without a signal: another control plane may have processed the end of the run.
POLL_S = 0.25


class ResultHost(Protocol):
    """The part of a control plane that knows the results of orders."""

    order_ended: Signal

    async def results_of(self, order_ids: Sequence[str]) -> dict[str, OrderResult]: ...


class ResultWaiter:
    """Resolves each order that somebody waits for, when it has ended."""

    def __init__(self, host: ResultHost) -> None:
        self._host = host
        self._ended = host.order_ended.listen()
        self._waiting: dict[str, asyncio.Future[OrderResult]] = {}

    async def wait(self, order_id: str) -> OrderResult:
        """Return the result of an order when it has ended."""
        future: asyncio.Future[OrderResult] = asyncio.get_running_loop().create_future()
        self._waiting[order_id] = future
        try:
            return await future
        finally:
            del self._waiting[order_id]

    async def run(self) -> None:
        """Resolve orders until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._ended.wait()
            self._ended.clear()
            if self._waiting:
                for id, result in (await self._host.results_of(list(self._waiting))).items():
                    if id in self._waiting and not self._waiting[id].done():
                        self._waiting[id].set_result(result)
