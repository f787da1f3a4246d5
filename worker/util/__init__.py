"""Helpers that several packages need: JSON, masking of secrets, differences of states.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
