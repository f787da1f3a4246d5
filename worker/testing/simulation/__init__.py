"""Simulation of a fleet: its own control plane, workers, clients and store on virtual time.

One thread executes them; nothing waits. A seed draws the orders, the faults and all chance, so the
same seed is the same run, to the byte. Effects of steps are counted outside of the fleet, and
:mod:`worker.testing.simulation.checks` judges what happened.
"""

from __future__ import annotations
