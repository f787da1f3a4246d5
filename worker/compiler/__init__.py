"""Compiler of JavaScript jobs and conditions to what the sandbox runs.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
