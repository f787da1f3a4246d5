"""Receivers of the events of a run: journal, log, terminal.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
