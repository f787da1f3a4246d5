"""Exploration of a workflow's runs without running code.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
