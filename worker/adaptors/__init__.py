"""Adaptors from npm: bundled for the sandbox and kept in a cache of the user.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
