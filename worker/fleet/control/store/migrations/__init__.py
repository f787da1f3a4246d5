"""The history of the tables, for Alembic.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
