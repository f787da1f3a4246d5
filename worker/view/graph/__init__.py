"""Rendering of workflow graphs: content, layout, and output formats.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
