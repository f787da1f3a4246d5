"""Alerts for runs that ended as exception or lost: on the bus, through a command, to a webhook.

Each is delivered at least once over each channel: until the broker acknowledges, the command exits
with 0, the webhook responds with 2xx. The command gets the alert as JSON on its stdin, the webhook
as the body of a POST.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import msgspec

from worker.adaptors.http import bounded_request
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.state_messages import Alert
from worker.sinks.log import LeveledLogger
from worker.util.machine_clock import random_between

TIMEOUT_S = 30.0
"""The time limit of one delivery."""
BACKOFF_S, MAX_BACKOFF_S = 1.0, 300.0
# Enough to get through many alerts, and few enough not to overload who receives them.
MAX_AT_ONCE = 8
MAX_WAITING = 1_000
"""How many alerts wait for a channel; others stay in the database until there is room."""
BUS = "bus"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertNotifier:
    """The channels for alerts beside the log and the bus: a command line, a URL. Empty: none."""

    command: str = ""
    webhook: str = ""

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(name for name in ("command", "webhook") if getattr(self, name))

    async def deliver(self, channel: str, alert: Alert) -> None:
        """Deliver an alert over a channel. Raises where that fails."""
        body = wire.encode(alert)
        await (_run(self.command, body) if channel == "command" else _post(self.webhook, body))


@dataclass(slots=True)
class _Delivery:
    """An alert in memory: the channels that have delivered it, and those that are to."""

    alert: Alert
    delivered: set[str] = field(default_factory=set)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)


class AlertDispatcher:
    """Delivers alerts, each over all channels, and repeats what fails.

    ``publish`` delivers an alert on the bus; ``record`` stores over which channels the alert of a
    run was delivered, with ``True`` where these are all. No channel waits for another one: each has
    its own room, and takes those that had none from the database.
    """

    def __init__(
        self,
        notifier: AlertNotifier,
        publish: Callable[[Alert], Awaitable[None]],
        record: Callable[[str, frozenset[str], bool], Awaitable[None]],
        log: LeveledLogger,
    ) -> None:
        self._notifier = notifier
        self._publish = publish
        self._record = record
        self._log = log
        self._deliveries: dict[str, _Delivery] = {}
        self._channels = (BUS, *notifier.channels)
        self._waiting = dict.fromkeys(self._channels, 0)
        # The channels for which there may be others in the database.
        self._left_over: set[str] = set()
        self._limits = {channel: asyncio.Semaphore(MAX_AT_ONCE) for channel in self._channels}

    @property
    def under_way(self) -> int:
        """The number of alerts that are being delivered."""
        return len(self._deliveries)

    def expect_left_over(self) -> None:
        """Note that the database may have alerts for each channel that were never added."""
        self._left_over.update(self._channels)

    def take_left_over(self) -> list[str]:
        """Return, once, the channels with room for alerts that were left in the database."""
        ready = [
            channel
            for channel in self._channels
            if channel in self._left_over and self._waiting[channel] <= MAX_WAITING // 2
        ]
        self._left_over.difference_update(ready)
        return ready

    def add(self, alert: Alert, delivered: frozenset[str] = frozenset()) -> None:
        """Begin to deliver an alert over the channels that have room.

        It is not for those among ``delivered``, and for those that it is under way to.
        """
        delivery = self._deliveries.get(alert.run_id)
        if delivery is None:
            self._log.critical(f"run.{alert.status}", **msgspec.to_builtins(alert))
            delivery = self._deliveries[alert.run_id] = _Delivery(alert)
        delivery.delivered |= delivered
        for channel in self._channels:
            if channel not in delivery.delivered and channel not in delivery.tasks:
                self._begin(delivery, channel)
        if delivery.delivered.issuperset(self._channels) and not delivery.tasks:
            self._start(delivery, "", self._store(delivery))
        self._forget_idle(delivery)

    async def close(self) -> None:
        """Stop; what is not delivered stays open in the database."""
        tasks = [task for each in self._deliveries.values() for task in each.tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, delivery: _Delivery, channel: str) -> None:
        if self._waiting[channel] >= MAX_WAITING:
            self._left_over.add(channel)
            return
        self._waiting[channel] += 1
        self._start(delivery, channel, self._deliver(delivery, channel))

    def _start(self, delivery: _Delivery, channel: str, work: Coroutine[Any, Any, None]) -> None:
        task = delivery.tasks[channel] = asyncio.create_task(work)

        def end(_: object) -> None:
            if channel:
                self._waiting[channel] -= 1
            del delivery.tasks[channel]
            self._forget_idle(delivery)

        task.add_done_callback(end)

    def _forget_idle(self, delivery: _Delivery) -> None:
        if not delivery.tasks:
            self._deliveries.pop(delivery.alert.run_id, None)

    async def _deliver(self, delivery: _Delivery, channel: str) -> None:
        await self._until_delivered(channel, delivery.alert)
        delivery.delivered.add(channel)
        await self._store(delivery)

    async def _store(self, delivery: _Delivery) -> None:
        complete = delivery.delivered.issuperset(self._channels)
        await self._record(delivery.alert.run_id, frozenset(delivery.delivered), complete)

    async def _until_delivered(self, channel: str, alert: Alert) -> None:
        failures = 0
        while True:
            try:
                async with self._limits[channel], asyncio.timeout(TIMEOUT_S):
                    if channel == BUS:
                        return await self._publish(alert)
                    return await self._notifier.deliver(channel, alert)
            except Exception as error:
                failures += 1
                # TimeoutError has no text of its own.
                reason = str(error) or type(error).__name__
                self._log.warning(
                    "alert.delivery_failed",
                    run_id=alert.run_id,
                    channel=channel,
                    failures=failures,
                    error=reason,
                )
            await asyncio.sleep(_backoff_s(failures))


def _backoff_s(failures: int) -> float:
    pause_s = min(MAX_BACKOFF_S, BACKOFF_S * 2.0 ** min(failures - 1, 20))
    return pause_s * random_between(0.5, 1.0)


async def _run(command: str, body: bytes) -> None:
    program, *arguments = shlex.split(command)
    process = await asyncio.create_subprocess_exec(
        program, *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        await process.communicate(body)
    finally:
        # Only after a timeout or a cancellation: a hanging command must not outlive its limit.
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise OSError(f"{program} ended with code {process.returncode}")


async def _post(url: str, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    # What the service says beside the status is of no use, and can have any size.
    status, _ = await bounded_request.send(
        "POST", url, headers=headers, content=body, timeout_s=TIMEOUT_S
    )
    if not 200 <= status < 300:
        # Without the URL, which is the secret of most services: the text is logged.
        raise OSError(f"the webhook has responded with {status}")
