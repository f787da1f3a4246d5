"""Comparison of two versions of a workflow, proved by walking both."""

from __future__ import annotations
