"""Fleets: messages, the control plane, workers, and clients.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
