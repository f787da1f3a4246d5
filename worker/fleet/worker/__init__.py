"""The fleet worker: claims runs from the control plane, executes them, reports their events.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
