"""Readers of the file formats; :mod:`worker.workflow.load` detects which one to use.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
