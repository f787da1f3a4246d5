"""Messages between clients, the control plane and workers, and the buses that carry them.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
