"""Campaigns: many recordings, replayed with several versions of a workflow, and what differs.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
