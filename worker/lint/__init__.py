"""Linter of workflows. Its modules are private to ``worker``; use the command ``worker lint``."""
