"""JavaScript steps and conditions on the engine.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
