"""What a control plane knows: orders, their runs, lanes and projects. Times are in microseconds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from worker.core.status import STATUSES, Status


class RunPhase(StrEnum):
    """Where a run stands with the control plane; a final one never changes."""

    AVAILABLE = "available"
    CLAIMED = "claimed"
    STARTED = "started"
    FINAL = "final"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkOrder:
    """A work order. Its status is that of its last run; ``reason`` says why it was rejected."""

    id: str
    project: str
    workflow: str
    plan: str
    input: str
    options: str
    priority: int
    status: Status
    reason: str | None = None
    created: int
    runs: int = 0
    last_run: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A run of an order.

    ``age`` orders runs by when they came. ``attempt`` counts how often the run was leased,
    ``token`` proves the lease, which ends at ``expires``. ``reported`` is the number of the last
    event that was accepted, -1 before the first. ``start`` and ``input`` differ from the order's
    where the run is a retry from a step. ``cancelling`` says that somebody asked for its end.
    """

    id: str
    order_id: str
    number: int
    project: str
    workflow: str
    priority: int
    age: int
    phase: RunPhase = RunPhase.AVAILABLE
    status: Status = Status.PENDING
    attempt: int = 1
    start: str = ""
    input: str = ""
    claim_id: str | None = None
    worker: str | None = None
    incarnation: str | None = None
    token: str | None = None
    expires: int = 0
    cancelling: bool = False
    reported: int = -1
    created: int
    started: int | None = None
    finished: int | None = None
    error_type: str | None = None
    error_message: str | None = None

    @property
    def leased(self) -> bool:
        return self.phase in (RunPhase.CLAIMED, RunPhase.STARTED)

    @property
    def final(self) -> bool:
        return STATUSES[self.status].final


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePartition:
    """The runs of one workflow of one project: how many wait and how many are leased."""

    project: str
    workflow: str
    available: int
    leased: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectRecord:
    """What admission counts: runs that have not ended, and those accepted in this period."""

    name: str
    unfinished: int = 0
    period_began: int = 0
    accepted: int = 0
