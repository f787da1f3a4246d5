"""Pauses before a new connection: long for a broker that is away, short for a link that breaks."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from worker.fleet.control.unit_of_work import Settings
from worker.fleet.messaging.reconnect_pauses import MAX_BACKOFF_S, backoff_s, failures_after


@given(st.floats(1.0, 1000.0))
def test_a_link_that_breaks_every_few_seconds_is_back_within_the_grace(served_s: float) -> None:
    failures = 0
    for _ in range(100):
        failures = failures_after(failures, served_s)
        assert backoff_s(failures) < Settings().disconnect_grace_s / 2


def test_two_of_one_name_leave_longer_and_longer_pauses() -> None:
    failures, pause_s = [0, 0], 0.0
    for turn in [0, 1] * 30:
        # The connection of the one ends when the pause of the other is over.
        failures[turn] = failures_after(failures[turn], pause_s)
        pause_s = backoff_s(failures[turn])
    assert failures == [30, 30]


def test_pauses_for_a_broker_that_is_away_are_bounded() -> None:
    failures = 0
    for _ in range(2000):
        failures = failures_after(failures, -math.inf)
    assert MAX_BACKOFF_S / 2 <= backoff_s(failures) <= MAX_BACKOFF_S
