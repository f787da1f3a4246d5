"""Rendering of workflow graphs: content, layout, and output formats."""
