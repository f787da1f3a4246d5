"""Recordings of runs on disk, and their replay: same input, time, randomness and replies.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
