"""Collections: keys and values that outlive a run, in a local store or in OpenFn's service.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
