"""The end of the sandbox that runs in forked processes: zygote, runs, condition server.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
