"""Selection of the runs that are leased next, within the limits of workflows."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from worker.fleet.control.pauses import Pauses, read_pauses
from worker.fleet.control.policy import Policy, ProjectLimits
from worker.fleet.control.queue import ProjectQueue, share_slots
from worker.fleet.control.store.transaction import Transaction, WaitingRun

# The bound keeps the time of a batch constant, however many queues there are.
PAGE_SIZE = 64


@dataclass(slots=True)
class _Room:
    """How many more runs of a project may be leased, and of its limited workflows; None: any."""

    total: int | None = None
    workflows: dict[str, int] = field(default_factory=dict)
    paused: Sequence[str] = ()

    @property
    def full(self) -> list[str]:
        """Workflows of which no further run may be leased."""
        return [*self.paused, *(name for name, left in self.workflows.items() if left <= 0)]

    def take(self, workflow: str) -> bool:
        """Take the room of one run. Return whether there was any."""
        if (self.total is not None and self.total <= 0) or self.workflows.get(workflow, 1) <= 0:
            return False
        if self.total is not None:
            self.total -= 1
        if workflow in self.workflows:
            self.workflows[workflow] -= 1
        return True


class RunSelector:
    """Selects waiting runs in one transaction."""

    def __init__(self, transaction: Transaction, policy: Policy, now_us: int) -> None:
        self._transaction = transaction
        self._policy = policy
        self._now_us = now_us
        self._leased: Counter[str] = Counter()
        self._rooms: dict[str, _Room] = {}
        self._pauses = Pauses()

    def select(self, demand: int) -> list[str]:
        """Return the ids of up to ``demand`` runs, in queue order; mark their queues as served."""
        self._leased = self._transaction.leases_by_project()
        self._pauses = read_pauses(self._transaction.connection)
        selected: list[str] = []
        served: set[ProjectQueue] = set()
        offset = 0
        while len(selected) < demand:
            queues = self._transaction.queues(PAGE_SIZE, offset)
            selected += self._select_from(queues, demand - len(selected), served)
            if len(queues) < PAGE_SIZE:
                break
            # Only where all runs of these queues are over the limits of their workflows.
            offset += PAGE_SIZE
        self._transaction.mark_served(served, self._now_us)
        return selected

    def _select_from(
        self, queues: Sequence[ProjectQueue], demand: int, served: set[ProjectQueue]
    ) -> list[str]:
        open_queues = list(queues)
        selected: list[str] = []
        # Each round selects a run, closes a queue, or uses up a limit: it ends.
        while open_queues and len(selected) < demand:
            slots = share_slots(open_queues, self._leased, demand - len(selected), self._now_us)
            wanted = Counter(slots)
            runs = {queue: deque(self._fetch(queue, count)) for queue, count in wanted.items()}
            for queue in [queue for queue, count in wanted.items() if len(runs[queue]) < count]:
                open_queues.remove(queue)
                self._transaction.drop_if_empty(queue)
            for queue in slots:
                if runs[queue] and self._take(queue.project, run := runs[queue].popleft()):
                    selected.append(run.run_id)
                    served.add(queue)
        return selected

    def _fetch(self, queue: ProjectQueue, count: int) -> list[WaitingRun]:
        room = self._room_of(queue.project)
        if room.total is not None and room.total <= 0:
            return []
        return self._transaction.waiting_runs(queue, count, room.full)

    def _take(self, project: str, run: WaitingRun) -> bool:
        if not self._room_of(project).take(run.workflow):
            return False
        self._transaction.reserve(run.run_id)
        self._leased[project] += 1
        return True

    def _room_of(self, project: str) -> _Room:
        if project not in self._rooms:
            self._rooms[project] = self._count_room(project, self._policy.of(project))
        return self._rooms[project]

    def _count_room(self, project: str, limits: ProjectLimits) -> _Room:
        room = _Room()
        room.paused = self._pauses.workflows(project)
        if self._pauses.covers_project(project):
            room.total = 0
        if limits.concurrent is None and limits.per_period is None and not limits.workflows:
            return room
        # Locked, so that two control planes do not both take the last room.
        self._transaction.lock_project(project)
        totals = [] if room.total is None else [room.total]
        leased = self._transaction.leases_by_workflow(project)
        if limits.concurrent is not None:
            totals.append(limits.concurrent - leased.total())
        if limits.per_period is not None:
            since = self._now_us - int(limits.period_s * 1e6)
            totals.append(limits.per_period - self._transaction.count_assigned(project, since))
        room.total = min(totals, default=None)
        room.workflows = {name: limit - leased[name] for name, limit in limits.workflows.items()}
        return room
