"""Alert notifications for runs that ended as exception or lost: a log line, a command, a webhook.

The command gets the alert as JSON on its stdin, the webhook as the body of a POST. The alert on the
bus is published by the control plane.
"""

from __future__ import annotations

import asyncio
import shlex
from dataclasses import dataclass

import msgspec

from worker.fleet.messaging import messages as wire
from worker.sinks.log import LeveledLogger

TIMEOUT_S = 30.0
"""The time limit of a command or a webhook."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertNotifier:
    """The channels for alerts beside the log: a command line, a URL. Empty means none."""

    command: str = ""
    webhook: str = ""

    async def notify(self, alert: wire.Alert, log: LeveledLogger) -> None:
        """Deliver an alert over all channels. A failure is logged and stops no other channel."""
        fields = msgspec.to_builtins(alert)
        log.critical(f"run.{alert.status}", **fields)
        body = wire.encode(alert)
        deliveries = [_run(self.command, body)] if self.command else []
        if self.webhook:
            deliveries.append(_post(self.webhook, body))
        for delivery in deliveries:
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    await delivery
            except Exception as error:
                # TimeoutError has no text of its own.
                reason = str(error) or type(error).__name__
                log.warning("alert.delivery_failed", run_id=alert.run_id, error=reason)


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
    if process.returncode:
        raise OSError(f"{program} ended with code {process.returncode}")


async def _post(url: str, body: bytes) -> None:
    import httpx

    async with httpx.AsyncClient() as client:
        reply = await client.post(url, content=body, headers={"content-type": "application/json"})
        reply.raise_for_status()
