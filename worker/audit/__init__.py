"""Audit of logs: the rules of a run, checked against what was written down."""

from __future__ import annotations
