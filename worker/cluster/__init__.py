"""Execution of parallel work on a Dask cluster: the same results as on one machine, in order.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
