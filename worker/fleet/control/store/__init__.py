"""The database of a control plane: SQLite, or PostgreSQL for several control planes.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
