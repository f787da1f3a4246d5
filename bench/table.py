"""One row of the table that the bench prints."""

from __future__ import annotations

from collections.abc import Iterable


def row(name: str, figure: str, compared: str = "") -> None:
    """Print a figure, and what it is compared to."""
    print(f"{name:<52} {figure:>18}  {compared}", flush=True)


def quantile(values: Iterable[float], q: float) -> float:
    """Return the value below which a share ``q`` of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * q))]
