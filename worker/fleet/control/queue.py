"""Which run goes next: by priority, then to the project that has the fewest going, then by age."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from worker.fleet.control.entities import QueuePartition


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A run that waits, as the queue sees it."""

    run_id: str
    priority: int
    age: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionHead:
    """A lane with the first of its runs, in the order in which they would go. ``limit`` is how
    many of the lane may be leased at once."""

    lane: QueuePartition
    waiting: Sequence[Waiting]
    limit: int | None = None


def choose(heads: Sequence[PartitionHead], leased: Mapping[str, int], demand: int) -> list[str]:
    """The ids of up to ``demand`` runs, in the order in which they go. ``leased`` counts the runs
    of each project that are going."""
    going = Counter(leased)
    position = [0] * len(heads)
    chosen: list[str] = []
    while len(chosen) < demand:
        ready = [index for index in range(len(heads)) if _ready(heads[index], position[index])]
        if not ready:
            break
        best = min(ready, key=lambda index: _rank(heads[index], position[index], going))
        chosen.append(heads[best].waiting[position[best]].run_id)
        position[best] += 1
        going[heads[best].lane.project] += 1
    return chosen


def _ready(head: PartitionHead, taken: int) -> bool:
    room = head.limit is None or head.lane.leased + taken < head.limit
    return room and taken < len(head.waiting)


def _rank(head: PartitionHead, taken: int, going: Mapping[str, int]) -> tuple[int, int, int]:
    first = head.waiting[taken]
    return -first.priority, going[head.lane.project], first.age


def share(demands: Mapping[str, int], runs: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Deal runs out to workers, one each in turn, as long as there is demand."""
    left = dict(demands)
    given = iter(runs)
    while any(left.values()):
        for worker in [name for name, count in left.items() if count]:
            run = next(given, None)
            if run is None:
                return
            left[worker] -= 1
            yield worker, run
