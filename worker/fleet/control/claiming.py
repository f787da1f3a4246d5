"""Selection of the runs that are leased next, within the limits of workflows."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from worker.fleet.control.pauses import Pauses, read_pauses
from worker.fleet.control.placement import CREDENTIAL, FreeSlots, decode_words
from worker.fleet.control.policy import Policy, ProjectLimits
from worker.fleet.control.queue import BEFORE_ALL, ProjectQueue, QueuePlace, share_slots
from worker.fleet.control.store.transaction import Transaction, WaitingRun

PAGE_SIZE = 64
MAX_PAGES = 4
"""Pages of queues that a batch reads, which keeps its time constant, however many there are."""
# Clients choose labels freely, and each set of them that no worker has costs a query.
MAX_UNMET = 64
# The row that is locked while the leases of credentials are counted: no project has this name.
_RATES = "*rates"


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

    def has(self, workflow: str) -> bool:
        """Return whether there is room for one more run."""
        return (self.total is None or self.total > 0) and self.workflows.get(workflow, 1) > 0

    def take(self, workflow: str) -> None:
        """Take the room of one run."""
        if self.total is not None:
            self.total -= 1
        if workflow in self.workflows:
            self.workflows[workflow] -= 1


@dataclass(slots=True)
class QueueTurn:
    """The place where the last batch has left off that found too few runs in the first page."""

    after: QueuePlace = BEFORE_ALL


class RunSelector:
    """Selects waiting runs in one transaction, of the projects that ``serves`` returns True for."""

    def __init__(
        self,
        transaction: Transaction,
        policy: Policy,
        slots: FreeSlots,
        now_us: int,
        serves: Callable[[str], bool],
    ) -> None:
        self._serves = serves
        self._transaction = transaction
        self._policy = policy
        self._now_us = now_us
        self._leased: Counter[str] = Counter()
        self._rooms: dict[str, _Room] = {}
        self._slots = slots
        # Needs that no worker with a free slot meets, or whose credential is at its limit.
        self._unmet: set[str] = set()
        self._unmet_of: Counter[ProjectQueue] = Counter()
        self._credentials: dict[str, int] = {}
        self._pauses = Pauses()

    def select(self, queues: Sequence[ProjectQueue], turn: QueueTurn) -> list[tuple[str, str]]:
        """Choose worker and run for the free slots, in queue order; mark the queues as served.

        ``queues`` is the first page of them, and others follow in ``turn``.
        """
        demand = self._slots.count
        # One project alone shares with no other.
        if len(queues) > 1:
            self._leased = self._transaction.leases_by_project()
        self._pauses = read_pauses(self._transaction.connection)
        selected: list[tuple[str, str]] = []
        served: set[ProjectQueue] = set()
        for page in range(MAX_PAGES):
            # No run of the queues before can be leased, as they are paused or over their limits.
            # Those that follow have their turn in later batches: to look at all of them can take
            # seconds.
            if page:
                queues = self._transaction.queues(PAGE_SIZE, turn.after)
            selected += self._select_from(queues, demand - len(selected), served)
            if len(selected) == demand:
                break
            if len(queues) < PAGE_SIZE:
                turn.after = BEFORE_ALL
                break
            last = queues[-1].place
            turn.after = last if page else max(turn.after, last)
        self._transaction.mark_served(served, self._now_us)
        return selected

    def _select_from(
        self, queues: Sequence[ProjectQueue], demand: int, served: set[ProjectQueue]
    ) -> list[tuple[str, str]]:
        open_queues = [queue for queue in queues if self._serves(queue.project)]
        selected: list[tuple[str, str]] = []
        # Each round selects a run, closes a queue, uses up a limit or learns of a need that is
        # not met: it ends.
        while open_queues and len(selected) < demand:
            slots = share_slots(open_queues, self._leased, demand - len(selected), self._now_us)
            wanted = Counter(slots)
            runs = {queue: deque(self._fetch(queue, count)) for queue, count in wanted.items()}
            for queue in [queue for queue, count in wanted.items() if len(runs[queue]) < count]:
                open_queues.remove(queue)
                self._transaction.drop_if_empty(queue)
            for queue in slots:
                if not runs[queue]:
                    continue
                run = runs[queue].popleft()
                if (worker := self._take(queue, run)) is not None:
                    selected.append((worker, run.run_id))
                    served.add(queue)
            open_queues = [each for each in open_queues if self._unmet_of[each] < MAX_UNMET]
        return selected

    def _fetch(self, queue: ProjectQueue, count: int) -> list[WaitingRun]:
        room = self._room_of(queue.project)
        if room.total is not None and room.total <= 0:
            return []
        return self._transaction.waiting_runs(queue, count, room.full, self._unmet)

    def _take(self, queue: ProjectQueue, run: WaitingRun) -> str | None:
        """Choose the worker that gets a run, if there is one."""
        room, needs = self._room_of(queue.project), decode_words(run.needs)
        if not room.has(run.workflow) or run.needs in self._unmet:
            return None
        if not self._has_credentials(needs) or (worker := self._slots.take(needs)) is None:
            self._unmet.add(run.needs)
            self._unmet_of[queue] += 1
            return None
        room.take(run.workflow)
        for word in self._credentials.keys() & needs:
            self._credentials[word] -= 1
        self._transaction.reserve(run.run_id)
        self._leased[queue.project] += 1
        return worker

    def _has_credentials(self, needs: frozenset[str]) -> bool:
        """Return whether all needed credentials are below their rates."""
        return all(
            self._left_of(word.removeprefix(CREDENTIAL), word) > 0
            for word in needs
            if word.startswith(CREDENTIAL)
        )

    def _left_of(self, credential: str, word: str) -> int:
        rate = self._policy.credential_rates.get(credential)
        if rate is None:
            return 1
        if word not in self._credentials:
            # Locked, so that two control planes do not both take what is left.
            self._transaction.lock_project(_RATES)
            since = self._now_us - int(rate.period_s * 1e6)
            need = msgspec.json.encode(word).decode()
            self._credentials[word] = rate.runs - self._transaction.count_assigned(since, need=need)
        return self._credentials[word]

    def _room_of(self, project: str) -> _Room:
        if project not in self._rooms:
            self._rooms[project] = self._count_room(project, self._policy.of(project))
        return self._rooms[project]

    def _count_room(self, project: str, limits: ProjectLimits) -> _Room:
        room = _Room()
        room.paused = self._pauses.workflows(project)
        if self._pauses.covers_project(project):
            room.total = 0
        per_workflow = limits.workflows or limits.rates
        if limits.concurrent is None and limits.per_period is None and not per_workflow:
            return room
        # Locked, so that two control planes do not both take the last room.
        self._transaction.lock_project(project)
        totals = [] if room.total is None else [room.total]
        leased = self._transaction.leases_by_workflow(project)
        if limits.concurrent is not None:
            totals.append(limits.concurrent - leased.total())
        if limits.per_period is not None:
            since = self._now_us - int(limits.period_s * 1e6)
            totals.append(
                limits.per_period - self._transaction.count_assigned(since, project=project)
            )
        room.total = min(totals, default=None)
        room.workflows = {name: limit - leased[name] for name, limit in limits.workflows.items()}
        for name, rate in limits.rates.items():
            left = rate.runs - self._transaction.count_assigned(
                self._now_us - int(rate.period_s * 1e6), project=project, workflow=name
            )
            room.workflows[name] = min(left, room.workflows.get(name, left))
        return room
