"""Ids for the starts of a process."""

from __future__ import annotations

from worker.util.machine_clock import now_us, random_hex


def incarnation() -> str:
    """Make an id that sorts after all earlier ones."""
    return f"{now_us() * 1000:016x}-{random_hex(4)}"
