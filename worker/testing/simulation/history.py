"""History of a simulation, as it is seen from outside of the fleet."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from worker.testing.simulation.faults import Fault


@dataclass(slots=True, kw_only=True)
class History:
    """Orders with their runs at the end, effects by run, and states in the order of their arrival.

    ``states`` maps the topic of a run's or an order's state to the statuses that followers saw.
    ``logs`` are the events of the runs, by run id. ``notes`` are the log lines of the parts, each
    with the second of the simulation and the part.
    """

    seed: int
    faults: tuple[Fault, ...]
    accepted: set[str] = field(default_factory=set)
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    logs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    effects: Counter[str] = field(default_factory=Counter)
    effects_of_orders: Counter[str] = field(default_factory=Counter)
    states: dict[str, list[str]] = field(default_factory=dict)
    notes: list[tuple[float, str, str, dict[str, Any]]] = field(default_factory=list)
    failure: str = ""
    messages: int = 0
    trace: str = ""
    simulated_s: float = 0.0
