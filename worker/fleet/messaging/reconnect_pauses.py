"""Pauses before a connection to a broker is made again: exponential, with jitter."""

from __future__ import annotations

import random

MAX_BACKOFF_S = 5.0
STABLE_S, STABLE_PAUSES = 10.0, 4
"""A connection is stable after this time, or after so many pauses like the one before it."""


def failures_after(failures: int, served_s: float) -> int:
    """Count a failure; a connection that has served for a while begins the count anew.

    The time to connect does not count: a broker that is mute takes as long as a stable one. Two
    participants of one name end each other's connection after a pause of the other. A link that
    breaks every few seconds is not like that, and healthy runs would be lost in long pauses.
    """
    is_stable = served_s > min(STABLE_S, STABLE_PAUSES * _longest_pause_s(failures))
    return 1 if is_stable else failures + 1


def backoff_s(failures: int) -> float:
    """Return how long to wait after a number of failures in a row."""
    # Random, so that clients that lost the broker together do not reconnect together.
    return _longest_pause_s(failures) * random.uniform(0.5, 1.0)  # noqa: S311


def _longest_pause_s(failures: int) -> float:
    return min(MAX_BACKOFF_S, 0.1 * 2.0 ** min(failures, 10))
