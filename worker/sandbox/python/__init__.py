"""Python steps: the guard of their code, their state, and their errors.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
