"""The superuser is told of runs that ended as exception or lost: a log line, a command, a webhook.

The alert on the bus is the plane's; this is what leaves it. The command gets the alert as JSON on
its stdin, the webhook as the body of a POST.
"""

from __future__ import annotations

import asyncio
import shlex
from dataclasses import dataclass

import msgspec

from worker.fleet.messaging import messages as wire
from worker.sinks.log import LeveledLogger

SECONDS = 30.0
"""How long a command or a webhook may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertNotifier:
    """How the superuser is told, beside the log: a command line, a URL."""

    command: str = ""
    webhook: str = ""

    async def tell(self, alert: wire.Alert, log: LeveledLogger) -> None:
        """Say it in every way that is set. What does not work is logged, and stops nothing."""
        fields = msgspec.to_builtins(alert)
        log.critical(f"run {alert.status}", **fields)
        text = wire.encode(alert)
        ways = []
        if self.command:
            ways.append(_run(shlex.split(self.command), text))
        if self.webhook:
            ways.append(_post(self.webhook, text))
        for way in ways:
            try:
                async with asyncio.timeout(SECONDS):
                    await way
            except Exception as error:
                text_ = str(error) or type(error).__name__
                log.warning("the superuser was not told", run_id=alert.run_id, why=text_)


async def _run(command: list[str], text: bytes) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        await process.communicate(text)
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise OSError(f"{command[0]} ended with code {process.returncode}")


async def _post(url: str, text: bytes) -> None:
    import httpx

    async with httpx.AsyncClient() as client:
        reply = await client.post(url, content=text, headers={"content-type": "application/json"})
        reply.raise_for_status()
