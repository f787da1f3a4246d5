"""What the commands of a fleet print about orders, runs and workflows."""

from __future__ import annotations

from worker.sinks.terminal_text import format_time


def test_a_time_names_its_zone() -> None:
    assert format_time(1_767_225_600_000_000) == "2026-01-01 00:00:00 UTC"
