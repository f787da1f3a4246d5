"""Counts with their noun."""

from __future__ import annotations


def count_of(number: int, noun: str) -> str:
    """Return ``1 step`` or ``2 steps``; the plural of ``noun`` ends in s."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
