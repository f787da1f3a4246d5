"""Hosts for HTTP requests of adaptors: live, stubbed, recording and replaying.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
