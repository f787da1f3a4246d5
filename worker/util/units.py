"""Numbers with units in texts: durations, sizes and counts."""

from __future__ import annotations

import re
from collections.abc import Mapping

SECONDS: Mapping[str, float] = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
MEGABYTES: Mapping[str, float] = {"kb": 1 / 1024, "mb": 1, "gb": 1024}
COUNTS: Mapping[str, float] = {"k": 10**3, "m": 10**6, "g": 10**9}

_WITH_UNIT = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([a-z]*)", re.ASCII)


def parse_quantity(text: str, units: Mapping[str, float]) -> float | None:
    """Parse a number, which may have one of the units; ``None`` for another text."""
    match = _WITH_UNIT.fullmatch(text.strip().lower())
    if match is None or (match[2] and match[2] not in units):
        return None
    return float(match[1]) * units.get(match[2], 1)
