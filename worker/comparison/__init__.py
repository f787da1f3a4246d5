"""Comparison of two versions of a workflow, proved by walking both.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
