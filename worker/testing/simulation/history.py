"""History of a simulation, as it is seen from outside of the fleet."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from worker.testing.simulation.faults import InjectedFault
from worker.testing.simulation.workload import Workload


class Span(NamedTuple):
    """Time in which a worker executed a run, in seconds of the simulation."""

    run_id: str
    began_s: float
    ended_s: float


@dataclass(slots=True, kw_only=True)
class History:
    """Orders with their runs at the end, effects by run, and states in the order of their arrival.

    ``faults`` are those that were drawn, ``injected`` those of them that began.
    ``states`` maps the topic of a run's or an order's state to the statuses that followers saw, who
    leave out those with an older revision. ``seen`` is when a status of a run was seen first, in
    seconds, ``alerts`` the runs whose alerts were seen. ``answers`` are the runs that each claim
    got, ``claim_of`` the newest claim of each run, ``answered_twice`` claims that got others later.
    ``begun_early`` are the runs that a worker began without a stored start under its lease.
    ``exceptions`` are the runs that had a reason to end as exception, ``planes`` the number of
    control planes.
    ``submitted`` has the workflow and the project of each order, ``cancelled`` the orders that a
    client cancelled. ``effects`` counts by run, step and execution of the step. ``spans`` are the
    times of drawn runs.
    ``logs`` are the events of the runs, by run id. ``notes`` are the log lines of the parts, each
    with the second of the simulation and the part.
    """

    seed: int
    faults: tuple[InjectedFault, ...]
    workload: Workload = field(default_factory=Workload)
    injected: list[InjectedFault] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    logs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    seen: dict[tuple[str, str], float] = field(default_factory=dict)
    alerts: set[str] = field(default_factory=set)
    answers: dict[str, set[str]] = field(default_factory=dict)
    claim_of: dict[str, str] = field(default_factory=dict)
    answered_twice: set[str] = field(default_factory=set)
    begun_early: set[str] = field(default_factory=set)
    planes: int = 1
    exceptions: set[str] = field(default_factory=set)
    effects: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    submitted: dict[str, tuple[str, str]] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    spans: list[Span] = field(default_factory=list)
    states: dict[str, list[str]] = field(default_factory=dict)
    notes: list[tuple[float, str, str, dict[str, Any]]] = field(default_factory=list)
    failure: str = ""
    messages: int = 0
    trace: str = ""
    simulated_s: float = 0.0
