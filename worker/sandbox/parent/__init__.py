"""The end of the sandbox that runs in the caller's process: pool, run processes, host calls.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
