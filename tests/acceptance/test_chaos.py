"""A short chaos, with another seed than the long one of ``make chaos``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.chaos import chaos
from tests.support.fleets import needs_mosquitto


@pytest.mark.slow
@pytest.mark.xdist_group("fleet")
@pytest.mark.parametrize("kind", [pytest.param("mosquitto", marks=needs_mosquitto), "iotcore"])
async def test_nothing_is_lost_or_done_twice(tmp_path: Path, kind: str) -> None:
    figures = await chaos(tmp_path, runs=60, workers=2, seed=5, pause=(0.1, 0.6), kind=kind)
    # The invariants are checked at the end of chaos(); without a disturbed run they prove little.
    assert 0 < figures["disturbed"] < figures["runs"] == 60
