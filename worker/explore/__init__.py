"""Exploration of a workflow's runs without running code. Its modules are private to ``worker``."""
