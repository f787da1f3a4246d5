"""Runs of workflows in pools of processes, and their results.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
