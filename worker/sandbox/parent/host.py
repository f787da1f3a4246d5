"""Interface of hosts, which perform the calls of a run's adaptors outside of the sandbox."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from msgspec import Struct

from worker.util.json import dumps

MAX_CONCURRENT_CALLS = 20
SMALL_BYTES = 64 * 1024
"""Size up to which converting a text takes less time than handing it to a thread."""


class TrafficExceeded(Exception):
    """The requests and replies of a run hold more bytes than its limit allows."""


class RunTraffic:
    """Bytes and slots that the calls of one run share in the parent.

    ``slots`` bounds the calls that are performed at one time.
    """

    def __init__(self, max_bytes: float = math.inf) -> None:
        self.slots = asyncio.Semaphore(MAX_CONCURRENT_CALLS)
        self.conversion = asyncio.Lock()
        self._bytes_left = max_bytes
        self._guard = threading.Lock()

    def take(self, size_bytes: int) -> bool:
        """Take bytes, or return them where the size is negative; return False when over."""
        # Replies are converted in threads, which take bytes too.
        with self._guard:
            self._bytes_left -= size_bytes
            return self._bytes_left >= 0


class CallTraffic:
    """Share of one call in the traffic of its run."""

    def __init__(self, run: RunTraffic) -> None:
        self.run = run
        self._held_bytes = 0

    def hold(self, size_bytes: int) -> None:
        """Count bytes that are held until the call ends. Raises :class:`TrafficExceeded`."""
        self._held_bytes += size_bytes
        if not self.run.take(size_bytes):
            raise TrafficExceeded

    def release(self) -> None:
        """Return all bytes of this call to its run."""
        self.run.take(-self._held_bytes)
        self._held_bytes = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCall:
    """A call that an execution of a step makes: ``kind`` is ``http``, ``text`` the JSON request.

    ``number`` counts the run's calls from 1; ``now_us`` is the run's time since the epoch.
    ``credential`` is the step's configuration as JSON text: calls with different ones share no
    connection. Hosts count the bytes that they hold for the call in ``traffic``.
    """

    number: int
    kind: str
    text: str
    step: str
    execution: int
    now_us: int
    credential: str = field(default="", repr=False)
    traffic: CallTraffic = field(default_factory=lambda: CallTraffic(RunTraffic()), repr=False)


class HostReply(Struct, frozen=True, kw_only=True):
    """The reply as JSON, and the time at which it arrives on a clock that stands still."""

    text: str
    at_us: int


class Host(Protocol):
    """Performs calls. The reply to a call that fails is ``{error}``.

    It raises nothing but :class:`TrafficExceeded`, which ends the run.
    """

    async def handle(self, call: HostCall) -> HostReply: ...


def error_reply(call: HostCall, name: str, message: str, code: str = "") -> HostReply:
    """Build a reply that makes the call throw."""
    error = {"name": name, "message": message, **({"code": code} if code else {})}
    return HostReply(text=dumps({"error": error}), at_us=call.now_us)


async def off_loop(convert: Callable[..., Any], *arguments: Any, size_bytes: int) -> Any:
    """Call a function, in a thread where the size is large, and return its result."""
    if size_bytes <= SMALL_BYTES:
        return convert(*arguments)
    return await asyncio.to_thread(convert, *arguments)


class NoHost:
    """Host that rejects every call."""

    async def handle(self, call: HostCall) -> HostReply:
        return error_reply(call, "Error", f"this run has no host for calls ({call.kind})")
