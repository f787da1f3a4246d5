"""JSON and YAML documents, with the position of each value.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
