"""A short chaos, with another seed than the long one of ``make chaos``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import chaos
from tests.fleets import needs_mosquitto


@needs_mosquitto
@pytest.mark.xdist_group("fleet")
async def test_nothing_is_lost_or_done_twice(tmp_path: Path) -> None:
    figures = await chaos(tmp_path, runs=60, workers=2, seed=5, pause=(0.1, 0.6))
    assert figures["disturbed"] < figures["runs"] == 60
