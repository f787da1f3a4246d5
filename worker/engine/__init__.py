"""The engine: QuickJS as a WebAssembly module, its images, and instances that start from them.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
