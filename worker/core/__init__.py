"""Rules of a run, without I/O or time: plan, machine, events, statuses.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
