"""Rules of claiming: how many runs to claim, of which queues, and when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from worker.errors import UsageError

BACKOFF_FACTOR = 1.15
DEFAULT_QUEUES = ("manual", "*")


class Backoff(Struct, frozen=True):
    """The shortest and the longest time between claims that bring no run, in seconds."""

    min_s: float = 1.0
    max_s: float = 10.0


class Workloop(Struct, frozen=True):
    """Queues in the order in which they are preferred, and how many of their runs execute at once.

    ``*`` stands for all other queues.
    """

    queues: tuple[str, ...]
    capacity: int

    @property
    def name(self) -> str:
        return ">".join(self.queues)


class ClaimRequest(Struct, frozen=True):
    """A claim that is due: the number of its workloop, and for how many runs it is."""

    workloop: int
    demand: int


class ClaimState(Struct, frozen=True, kw_only=True):
    """State of the one loop that claims. ``busy`` counts the runs of each workloop.

    ``next`` is the workloop whose turn it is, and ``wait_s`` the time until the next claims.
    """

    workloops: tuple[Workloop, ...]
    busy: tuple[int, ...]
    backoff: Backoff
    wait_s: float
    next: int = 0
    claimed: bool = False


def initial_state(workloops: tuple[Workloop, ...], backoff: Backoff) -> ClaimState:
    return ClaimState(
        workloops=workloops, busy=(0,) * len(workloops), backoff=backoff, wait_s=backoff.min_s
    )


def next_claim(state: ClaimState) -> tuple[ClaimState, ClaimRequest | None]:
    """Return the next claim of this round, or ``None`` where the round is over."""
    for index in range(state.next, len(state.workloops)):
        room = state.workloops[index].capacity - state.busy[index]
        if room > 0:
            return replace(state, next=index + 1), ClaimRequest(index, room)
    return _end_of_round(state), None


def _end_of_round(state: ClaimState) -> ClaimState:
    backoff = state.backoff
    longer_s = min(state.wait_s * BACKOFF_FACTOR, backoff.max_s)
    wait_s = backoff.min_s if state.claimed else longer_s
    return replace(state, next=0, claimed=False, wait_s=wait_s)


def runs_claimed(state: ClaimState, workloop: int, count: int) -> ClaimState:
    """Count the runs that the claim of a workloop has brought."""
    return replace(_add(state, workloop, count), claimed=state.claimed or count > 0)


def run_ended(state: ClaimState, workloop: int) -> ClaimState:
    """Free the slot of a run."""
    return _add(state, workloop, -1)


def woken(state: ClaimState) -> ClaimState:
    """Claim at the shortest interval again, as new runs were announced."""
    return replace(state, wait_s=state.backoff.min_s)


def _add(state: ClaimState, workloop: int, count: int) -> ClaimState:
    busy = list(state.busy)
    busy[workloop] += count
    return replace(state, busy=tuple(busy))


def join_payload(workloops: tuple[Workloop, ...]) -> dict[str, Any]:
    """Return the payload with which a worker joins the queue."""
    queues: Mapping[str, int] = {loop.name: loop.capacity for loop in workloops}
    return {"capacity": sum(queues.values()), "queues": dict(queues)}


def parse_workloops(text: str) -> tuple[Workloop, ...]:
    """Parse OpenFn's notation ``fast_lane:1 manual>*:4``. Raises :class:`UsageError`."""
    workloops = tuple(_parse_workloop(part) for part in text.split())
    if not workloops:
        raise UsageError("expected workloops such as 'fast_lane:1 manual>*:4', found none")
    return workloops


def _parse_workloop(text: str) -> Workloop:
    names, _, count = text.rpartition(":")
    queues = tuple(names.split(">"))
    if not count.isdecimal() or int(count) < 1 or not all(queues) or "*" in queues[:-1]:
        raise UsageError(
            f"'{text}' is not a workloop (expected QUEUE[>QUEUE...]:COUNT, with * last)"
        )
    return Workloop(queues, int(count))


def parse_backoff(text: str) -> Backoff:
    """Parse ``MIN/MAX`` in seconds. Raises :class:`UsageError`."""
    try:
        min_s, max_s = map(float, text.split("/"))
    except ValueError:
        min_s, max_s = 0.0, -1.0
    if not 0 < min_s <= max_s < float("inf"):
        raise UsageError(f"'{text}' is not a backoff (expected MIN/MAX in seconds, such as 1/10)")
    return Backoff(min_s, max_s)
