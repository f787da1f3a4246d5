"""Views of workflows, runs and fleets: graphs, reports, and the dashboard.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
