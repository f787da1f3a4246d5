"""Workflows as their authors write them: model, files and their formats.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
