"""Histogram of durations or sizes, with fixed upper bounds."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
COUNTS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)


class Histogram:
    """Counts observations by the lowest upper bound that they do not exceed."""

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self._bounds = tuple(bounds)
        # The last one counts what exceeds all bounds.
        self._counts = [0] * (len(self._bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        # The clocks of workers may be ahead of each other: no duration is below 0.
        value = max(0.0, value)
        self._counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Return the upper bounds as text, each with the number of observations up to it."""
        names = [*map(str, self._bounds), "+Inf"]
        cumulative, sums = 0, list[float]()
        for count in self._counts:
            cumulative += count
            sums.append(cumulative)
        return list(zip(names, sums, strict=True))
