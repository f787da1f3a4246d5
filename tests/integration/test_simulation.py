"""The simulation of a fleet: the same by its seed, clean as it is, and not with planted defects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.support.command import call_worker
from worker.fleet.messaging import messages as wire
from worker.fleet.worker.claimed_runs import attempt_key
from worker.fleet.worker.fleet_worker import FleetWorker
from worker.testing.simulation.breaches import breaches
from worker.testing.simulation.faults import CONTROL, FaultKind, InjectedFault
from worker.testing.simulation.fewest_faults import shrink
from worker.testing.simulation.run_simulation import Simulation, simulate

SHORT = Simulation(seed=3, orders=8, duration_s=60.0)
LONG = Simulation(seed=1, duration_s=240.0)


def test_a_seed_is_the_same_simulation_to_the_byte() -> None:
    first, second = simulate(SHORT), simulate(SHORT)
    assert (first.trace, first.messages) == (second.trace, second.messages)
    assert first.trace != simulate(replace(SHORT, seed=4)).trace
    assert len(first.accepted) == 8 and first.simulated_s > 60


def test_a_fleet_is_clean_under_each_kind_of_fault() -> None:
    targets = {FaultKind.MUTE: "w1", FaultKind.DEAF: "w2", FaultKind.CUT: "w3"}
    faults = tuple(
        InjectedFault(at_s=4.0 + 9 * n, target=targets.get(kind, CONTROL), kind=kind, lasts_s=5.0)
        for n, kind in enumerate(FaultKind)
    )
    history = simulate(replace(SHORT, faults=faults))
    assert list(breaches(history)) == []
    assert len(history.accepted) == 8


@pytest.mark.slow
def test_a_fleet_is_clean_under_faults_of_two_seeds() -> None:
    done = call_worker("simulate", "--seeds", "2", "--minutes", "4")
    assert done.returncode == 0, done.stdout


def execute_at_once(worker: Any, assignment: wire.Assignment) -> None:
    """Start runs when they are assigned, before the control plane knows."""
    _ON_ASSIGNMENT(worker, assignment)
    for run in assignment.runs:
        key = attempt_key(run.lease)
        if key in worker._claimed and key not in worker._runs:
            worker._execute_started(run, 0.0)


def ignore_starts(worker: Any, starts: wire.Starts) -> None:
    worker._claimed.answer(starts, 0.0)


PLANTED: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "a run begins before its start is stored": lambda patch: (
        patch.setattr(FleetWorker, "_on_assignment", execute_at_once),
        patch.setattr(FleetWorker, "_on_starts", ignore_starts),
    )[0],
    "no heartbeats are sent": lambda patch: patch.setattr(
        FleetWorker, "_send_heartbeat", lambda self, now: None
    ),
    "a claim without an answer is never repeated": lambda patch: patch.setattr(
        FleetWorker, "_send_claim", claim_once
    ),
}
_SEND_CLAIM, _ON_ASSIGNMENT = FleetWorker._send_claim, FleetWorker._on_assignment


def claim_once(self: FleetWorker, demand: int, *, repeated: bool = False) -> None:
    if not repeated:
        _SEND_CLAIM(self, demand)


@pytest.mark.slow
@pytest.mark.parametrize("defect", PLANTED)
def test_a_planted_defect_is_found(defect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    PLANTED[defect](monkeypatch)
    seeds = range(1, 9)
    found = next((s for s in seeds if any(breaches(simulate(replace(LONG, seed=s))))), None)
    assert found is not None


def test_a_failing_simulation_shrinks_to_the_fault_that_matters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FleetWorker, "_send_heartbeat", lambda self, now: None)
    quiet = Simulation(seed=3, orders=8, duration_s=20.0, faults=())
    assert any(breaches(simulate(quiet)))
    harmless = InjectedFault(at_s=2.0, target="w2", kind=FaultKind.CUT, lasts_s=0.3)
    # Without heartbeats, long runs are lost without any fault.
    assert shrink(replace(quiet, faults=(harmless,))).faults == ()
