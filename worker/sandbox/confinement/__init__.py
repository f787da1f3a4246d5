"""Confinement: what the operating system forbids to processes that execute code of others.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
