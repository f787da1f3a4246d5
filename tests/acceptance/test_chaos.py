"""A short chaos, with other seeds than the long one of ``make chaos``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.chaos import Storm, chaos
from tests.support.databases import postgres_binaries
from tests.support.fleets import needs_mosquitto

RUNS = 30
STORMS = [
    pytest.param(Storm(runs=RUNS, seed=5, workers=2, pause=(0.1, 0.6)), marks=needs_mosquitto),
    Storm(runs=RUNS, seed=5, workers=2, pause=(0.1, 0.6), kind="iotcore"),
    pytest.param(
        Storm(runs=RUNS, seed=6, workers=2, planes=2, postgresql=True, pause=(0.1, 0.6)),
        marks=[
            needs_mosquitto,
            pytest.mark.database,
            pytest.mark.skipif(postgres_binaries() is None, reason="PostgreSQL is not installed"),
        ],
    ),
]


@pytest.mark.slow
@pytest.mark.xdist_group("fleet")
@pytest.mark.parametrize("storm", STORMS, ids=["sqlite", "iotcore", "postgresql"])
async def test_nothing_is_lost_or_done_twice(tmp_path: Path, storm: Storm) -> None:
    figures = await chaos(tmp_path, storm)
    # The invariants are checked at the end of chaos(); without a disturbed run they prove little.
    assert figures["disturbed"] and figures["runs"] == RUNS
