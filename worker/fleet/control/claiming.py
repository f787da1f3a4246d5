"""Selection of the runs that are leased next, within the limits of workflows."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence

from worker.fleet.control.policy import Policy
from worker.fleet.control.queue import ProjectQueue, share_slots
from worker.fleet.control.store.transaction import Transaction, WaitingRun

# The bound keeps the time of a batch constant, however many queues there are.
PAGE_SIZE = 64


class RunSelector:
    """Selects waiting runs in one transaction."""

    def __init__(self, transaction: Transaction, policy: Policy, now_us: int) -> None:
        self._transaction = transaction
        self._policy = policy
        self._now_us = now_us
        self._leased: Counter[str] = Counter()
        # How many more runs of a limited workflow may be leased, by project and workflow.
        self._room: dict[str, dict[str, int]] = {}

    def select(self, demand: int) -> list[str]:
        """Return the ids of up to ``demand`` runs, in queue order; mark their queues as served."""
        self._leased = self._transaction.leases_by_project()
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
        full = [workflow for workflow, left in room.items() if left <= 0]
        return self._transaction.waiting_runs(queue, count, full)

    def _take(self, project: str, run: WaitingRun) -> bool:
        room = self._room_of(project)
        if run.workflow in room:
            if room[run.workflow] <= 0:
                return False
            room[run.workflow] -= 1
        self._transaction.reserve(run.run_id)
        self._leased[project] += 1
        return True

    def _room_of(self, project: str) -> dict[str, int]:
        if project not in self._room:
            limits = self._policy.of(project).workflows
            self._room[project] = self._count_room(project, limits) if limits else {}
        return self._room[project]

    def _count_room(self, project: str, limits: Mapping[str, int]) -> dict[str, int]:
        # Locked, so that two control planes do not both take the last room.
        self._transaction.lock_project(project)
        leased = self._transaction.leases_by_workflow(project)
        return {workflow: limit - leased[workflow] for workflow, limit in limits.items()}
