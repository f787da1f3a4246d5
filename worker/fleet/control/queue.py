"""Order of the queue: priority, then the project with the fewest leased runs, then age. Pure.

A queue holds the waiting runs of one project and priority, the oldest first. A queue that is not
served for ``AGEING_S`` rises by one priority, and by one more for each further ``AGEING_S``, until
a run of it is leased. So no queue is passed over for ever, and a long backlog that is being served
gains nothing by its age.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

QueuePlace = tuple[int, int, str]
"""The place of a queue in the order of all: its rank, since when it waits, its project."""
BEFORE_ALL: QueuePlace = (-(2**62), 0, "")
AGEING_S = 300
_AGEING_US = AGEING_S * 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ProjectQueue:
    """The waiting runs of a project and priority.

    ``since``: when a run of it was leased last, or its first run came.
    """

    project: str
    priority: int
    since: int

    @property
    def place(self) -> QueuePlace:
        return rank(self.priority, self.since), self.since, self.project


def rank(priority: int, since: int) -> int:
    """Return the place of a queue, lowest first. It does not depend on the present time."""
    return since // _AGEING_US - priority


def share_slots(
    queues: Sequence[ProjectQueue], leased: Mapping[str, int], slots: int, now_us: int
) -> list[ProjectQueue]:
    """Return the queue that each slot goes to, as if none of the queues ever ended.

    ``leased`` is the number of leased runs of each project.
    """
    leases = Counter(leased)
    served: set[ProjectQueue] = set()

    def place(queue: ProjectQueue) -> tuple[int, int, int]:
        # A queue that has just been served has lost what it gained by age.
        since = now_us if queue in served else queue.since
        return rank(queue.priority, since), leases[queue.project], queue.since

    heap = [(place(queue), queue) for queue in queues]
    heapq.heapify(heap)
    shared: list[ProjectQueue] = []
    while heap and len(shared) < slots:
        known, queue = heap[0]
        # Places only get worse, so one that is not worse than it was is the best.
        if (current := place(queue)) > known:
            heapq.heapreplace(heap, (current, queue))
            continue
        shared.append(queue)
        served.add(queue)
        # Counted at once: else one project would get all of a large demand.
        leases[queue.project] += 1
    return shared
