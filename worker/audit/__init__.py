"""Audit of logs: the rules of a run, checked against what was written down.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
