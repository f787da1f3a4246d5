"""Live state of a fleet, from notifications and queries, for ``worker watch`` and the dashboard.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
