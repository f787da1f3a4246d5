"""The graph of a workflow, drawn: what to draw, where it goes, and the formats it is written in."""
