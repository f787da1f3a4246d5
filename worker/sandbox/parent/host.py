"""Interface of hosts, which perform the calls of a run's adaptors outside of the sandbox."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from worker.util.json import dumps


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCall:
    """A call that an execution of a step makes: ``kind`` is ``http``, ``text`` the JSON request.

    ``number`` counts the run's calls from 1; ``now_us`` is the run's time since the epoch.
    """

    number: int
    kind: str
    text: str
    step: str
    execution: int
    now_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReply:
    """The reply as JSON, and the time at which it arrives on a clock that stands still."""

    text: str
    at_us: int


class Host(Protocol):
    """Performs calls. It never raises: the reply to a call that fails is ``{error}``."""

    async def handle(self, call: HostCall) -> HostReply: ...


def error_reply(call: HostCall, name: str, message: str, code: str = "") -> HostReply:
    """Build a reply that makes the call throw."""
    error = {"name": name, "message": message, **({"code": code} if code else {})}
    return HostReply(text=dumps({"error": error}), at_us=call.now_us)


class NoHost:
    """Host that rejects every call."""

    async def handle(self, call: HostCall) -> HostReply:
        return error_reply(call, "Error", f"this run has no host for calls ({call.kind})")
