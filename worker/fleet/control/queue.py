"""Queue order: by priority, then the project with the fewest leased runs, then by age. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from worker.fleet.control.entities import QueuePartition


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingRun:
    """A run in the queue, with what its place depends on."""

    run_id: str
    priority: int
    age: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionHead:
    """The first runs of a partition, in queue order.

    ``limit`` is how many runs of the partition may be leased at once.
    """

    partition: QueuePartition
    waiting: Sequence[WaitingRun]
    limit: int | None = None


def pick_runs(heads: Sequence[PartitionHead], leased: Mapping[str, int], demand: int) -> list[str]:
    """Pick up to ``demand`` runs, in queue order, and return their ids.

    ``leased`` is the number of leased runs of each project.
    """
    leases = Counter(leased)
    taken = [0] * len(heads)
    picked: list[str] = []
    while len(picked) < demand:
        ready = [index for index in range(len(heads)) if _has_next(heads[index], taken[index])]
        if not ready:
            break
        best = min(ready, key=lambda index: _rank(heads[index], taken[index], leases))
        picked.append(heads[best].waiting[taken[best]].run_id)
        taken[best] += 1
        # Counted at once: else one project would get all of a large demand.
        leases[heads[best].partition.project] += 1
    return picked


def _has_next(head: PartitionHead, taken: int) -> bool:
    below_limit = head.limit is None or head.partition.leased + taken < head.limit
    return below_limit and taken < len(head.waiting)


def _rank(head: PartitionHead, taken: int, leases: Mapping[str, int]) -> tuple[int, int, int]:
    first = head.waiting[taken]
    return -first.priority, leases[head.partition.project], first.age


def distribute(demands: Mapping[str, int], run_ids: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield (worker, run id) pairs: one run for each worker in turn, within its demand."""
    remaining = dict(demands)
    supply = iter(run_ids)
    while any(remaining.values()):
        for worker in [name for name, count in remaining.items() if count]:
            run_id = next(supply, None)
            if run_id is None:
                return
            remaining[worker] -= 1
            yield worker, run_id
