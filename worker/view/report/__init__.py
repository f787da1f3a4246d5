"""Report of a run as an HTML page: view model, annotated graph, and rendering.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
