"""Runs on disk: what happened, what was asked of the world, and how to have it again."""
