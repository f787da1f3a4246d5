"""The simulation of a fleet: the same by its seed, clean as it is, and not with planted defects."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.command import call_worker
from tests.support.planted_defects import DEFECTS, Defect, look_for
from worker.fleet.worker.fleet_worker import FleetWorker
from worker.testing.simulation.breaches import breaches
from worker.testing.simulation.faults import CONTROL, FaultKind, InjectedFault
from worker.testing.simulation.fewest_faults import shrink
from worker.testing.simulation.run_simulation import Simulation, simulate

SHORT = Simulation(seed=3, orders=8, duration_s=60.0, planes=1)


@pytest.mark.slow
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


def test_a_control_plane_that_is_killed_while_deaf_stays_so_no_longer_than_its_keepalive() -> None:
    faults = (
        InjectedFault(at_s=20.0, target=CONTROL, kind=FaultKind.DEAF, lasts_s=12.0),
        InjectedFault(at_s=22.7, target=CONTROL, kind=FaultKind.KILL, lasts_s=0.3),
    )
    assert list(breaches(simulate(replace(SHORT, seed=1, faults=faults)))) == []


@pytest.mark.slow
def test_a_fleet_is_clean_under_faults_of_two_seeds() -> None:
    done = call_worker("simulate", "--seeds", "2", "--minutes", "4")
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 4, 12, 18])
def test_a_planted_defect_is_found(number: int) -> None:
    """A few of them; `make simulate-mutants` has all."""
    assert look_for(DEFECTS[number - 1], 60.0).seed is not None


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_each_defect_can_be_planted(defect: Defect, monkeypatch: pytest.MonkeyPatch) -> None:
    defect.plant(monkeypatch)


def test_there_are_the_seven_old_defects_and_thirteen_others() -> None:
    assert [defect.name.split()[0] for defect in DEFECTS] == [
        str(number) for number in range(1, len(DEFECTS) + 1)
    ]
    assert len(DEFECTS) >= 20


@pytest.mark.parametrize("planes", [2, 3])
def test_several_control_planes_of_one_store_are_clean(planes: int) -> None:
    faults = tuple(
        InjectedFault(at_s=4.0 + 9 * n, target=target, kind=kind, lasts_s=5.0)
        for n, (target, kind) in enumerate(
            [
                (CONTROL, FaultKind.HANG),
                (f"{CONTROL}-2", FaultKind.KILL),
                (CONTROL, FaultKind.STORE),
                (f"{CONTROL}-2", FaultKind.DEAF),
            ]
        )
    )
    history = simulate(replace(SHORT, planes=planes, faults=faults))
    assert list(breaches(history)) == []
    assert (history.planes, len(history.accepted)) == (planes, 8)


def test_the_seed_decides_how_many_control_planes_there_are() -> None:
    counts = {Simulation(seed=seed).plane_count for seed in range(8)}
    assert counts == {1, 2, 3}


@pytest.mark.slow
def test_a_failing_simulation_shrinks_to_the_fault_that_matters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FleetWorker, "_send_heartbeat", lambda self, now: None)
    quiet = Simulation(seed=3, orders=8, duration_s=20.0, faults=(), planes=1)
    assert any(breaches(simulate(quiet)))
    harmless = InjectedFault(at_s=2.0, target="w2", kind=FaultKind.CUT, lasts_s=0.3)
    # Without heartbeats, long runs are lost without any fault.
    assert shrink(replace(quiet, faults=(harmless,))).faults == ()
