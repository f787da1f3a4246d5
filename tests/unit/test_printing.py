"""What the commands of a fleet print about orders, runs and workflows."""

from __future__ import annotations

from typing import Any

import pytest

from worker.cli.workers import _line
from worker.sinks.terminal_text import format_time


def test_a_time_names_its_zone() -> None:
    assert format_time(1_767_225_600_000_000) == "2026-01-01 00:00:00 UTC"


@pytest.mark.parametrize(
    ("presence", "line"),
    [
        ({"online": True, "capacity": 2, "leases": ["r-1"]}, "online    w  1 of 2 slots in use"),
        ({"online": False, "capacity": 0, "leases": ["r-1"]}, "offline   w  holds 1 run"),
        ({"online": False, "capacity": 0, "leases": []}, "offline   w"),
    ],
)
def test_a_worker_that_is_away_has_no_slots(presence: dict[str, Any], line: str) -> None:
    assert _line({"name": "w", "draining": False, "offers": [], **presence}) == line
