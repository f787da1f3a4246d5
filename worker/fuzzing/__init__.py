"""Generated inputs: the shape of samples, inputs in and around it, and the search for new endings.

Everything but :mod:`worker.fuzzing.campaign` is pure.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
