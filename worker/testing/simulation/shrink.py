"""Shrinking of a failing simulation: the fewest faults with which it still fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from worker.testing.simulation.checks import breaches
from worker.testing.simulation.faults import Fault
from worker.testing.simulation.simulate import Simulation, simulate

Faults = tuple[Fault, ...]


def shrink(simulation: Simulation) -> Simulation:
    """Return the simulation with as few faults as it fails with; all chance stays as it was."""

    def fails(faults: Faults) -> bool:
        return any(breaches(simulate(replace(simulation, faults=faults))))

    return replace(simulation, faults=_fewest(simulation.drawn_faults(), fails))


def _fewest(faults: Faults, fails: Callable[[Faults], bool]) -> Faults:
    """Drop parts of the faults, large ones first, while what is left fails."""
    size = len(faults)
    while size > 0:
        start = 0
        while start < len(faults):
            rest = faults[:start] + faults[start + size :]
            if fails(rest):
                faults = rest
            else:
                start += size
        size //= 2
    return faults
