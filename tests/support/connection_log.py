"""A log of a source of messages that counts its connections."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.support.dashboard_fleet import DiscardingLog


class ConnectionLog(DiscardingLog):
    """A log that counts the connections."""

    def __init__(self) -> None:
        self.connected = asyncio.Semaphore(0)

    def info(self, event: str, **keys: Any) -> None:
        if event == "topics.connected":
            self.connected.release()
