"""Simulation of a fleet: its own control plane, workers, clients and store on virtual time.

One thread executes them; nothing waits. A seed draws the orders, the faults and all chance, so the
same seed is the same run, to the byte. Effects of steps are counted outside of the fleet, and
:mod:`worker.testing.simulation.breaches` judges what happened.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
