"""What performs the calls of a run's adaptors, outside of the sandbox."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from worker.util.json import dumps


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCall:
    """A call of an execution of a step: ``kind`` is ``http``, ``text`` the request as JSON.

    ``number`` counts the run's calls from 1; ``now`` is the run's time, in microseconds since the
    epoch.
    """

    number: int
    kind: str
    text: str
    step: str
    execution: int
    now: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReply:
    """The reply as JSON, and the moment at which a clock that stands still lets it arrive."""

    text: str
    at: int


class Host(Protocol):
    """Performs calls. It never raises: a call that fails is answered by ``{error}``."""

    async def answer(self, call: HostCall) -> HostReply: ...


def failed(call: HostCall, name: str, message: str, code: str = "") -> HostReply:
    """An answer that makes the call throw."""
    error = {"name": name, "message": message, **({"code": code} if code else {})}
    return HostReply(text=dumps({"error": error}), at=call.now)


class NoHost:
    """Refuses all calls."""

    async def answer(self, call: HostCall) -> HostReply:
        return failed(call, "Error", f"nothing here performs calls ({call.kind})")
