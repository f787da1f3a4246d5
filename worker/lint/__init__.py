"""Linter of workflows.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
