"""The command. One file a command; :mod:`worker.cli.main` imports it when it is used.

Private: the names of ``worker`` and ``worker.testing`` are the public ones.
"""
