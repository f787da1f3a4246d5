"""Workflows as pictures: the graph itself, and what was seen on it."""
