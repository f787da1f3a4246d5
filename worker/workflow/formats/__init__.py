"""Readers of the file formats; :mod:`worker.workflow.load` detects which one to use."""
