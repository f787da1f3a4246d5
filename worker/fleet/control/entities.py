"""The records of a control plane: orders, runs, projects. Times in microseconds.

The fields of orders and runs are the columns of their tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from msgspec import Struct

from worker.core.status import STATUSES, Status


class RunPhase(StrEnum):
    """The phase of a run in the control plane; a final run never changes."""

    DELAYED = "delayed"
    AVAILABLE = "available"
    CLAIMED = "claimed"
    STARTED = "started"
    FINAL = "final"


# Not data classes: a run has some fifteen versions, and to make one would take 20 times as long.
class WorkOrder(Struct, frozen=True, kw_only=True, gc=False):
    """A work order. Its status is that of its last run; ``reason`` explains a rejection.

    ``input`` is where its input dataclip is stored, as ``owner/id``. ``ref`` is the name by which
    its workflow was requested, ``content`` a hash of what it was submitted with, ``request`` the id
    of the request that was answered with the rejection; each is ``None`` where unknown. At most one
    order of a project with the same ``unique_key`` waits or runs. ``retry`` is its own retry policy
    as JSON; ``tags`` are separated by spaces, with a space at both ends. ``needs`` is what
    its worker must offer, as a list in JSON, and ``placement`` the labels among that which it was
    submitted with (``None``: not known). ``erased`` is when its states and logs were deleted.
    ``revision`` counts the published states.
    """

    id: str
    project: str
    workflow: str
    plan_id: str
    input: str
    options: str
    priority: int
    status: Status
    reason: str | None = None
    created: int
    runs: int = 0
    last_run: str | None = None
    ref: str | None = None
    content: str | None = None
    request: str | None = None
    unique_key: str | None = None
    retry: str | None = None
    tags: str = ""
    erased: int | None = None
    needs: str = ""
    placement: str | None = None
    revision: int = 0


class RunRecord(Struct, frozen=True, kw_only=True, gc=False):
    """A run of an order. Only :func:`~worker.fleet.control.lifecycle.apply` changes one.

    ``age`` orders runs by arrival. ``attempt`` counts the leases of the run, ``token`` proves the
    current one, which ends at ``expires``. ``reported`` is the number of the last accepted event,
    -1 before the first. ``start`` and ``input`` differ from the order's in a retry from a step.
    ``cancelling`` is set between a cancel request and its confirmation. ``plan_id`` is ``None``
    where it is the order's. ``started`` and ``finished`` are by the clock of the worker where it
    has reported them; ``skew`` is how far that clock was ahead, if it was off by a second or more.
    ``changed`` is when the status changed last, by the clock of the control plane. It is not leased
    before ``not_before``, and rejected where it has not started by ``start_by``. While it is
    delayed, ``expires`` is when it may be queued. ``retries`` counts the automatic retries in a row
    that led to it. ``assigned`` is when it was leased last. ``revision`` counts the published
    states.
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
    plan_id: str | None = None
    changed: int = 0
    skew: int | None = None
    assigned: int | None = None
    not_before: int = 0
    start_by: int | None = None
    retries: int = 0
    needs: str = ""
    revision: int = 0

    @property
    def leased(self) -> bool:
        return self.phase in (RunPhase.CLAIMED, RunPhase.STARTED)

    @property
    def final(self) -> bool:
        return STATUSES[self.status].final


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectRecord:
    """The counts for admission: runs that have not ended, and those accepted in the last period."""

    name: str
    unfinished: int = 0
    accepted: int = 0
