"""Bounds of costs in cases: ``< 2M``, ``<= 750k``, ``> 10``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_COMPARISONS: Mapping[str, Callable[[int, int], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
PATTERN = r"([<>]=?) ?(\d{1,15}(?:\.\d{1,9})?)([kmgKMG]?)"


@dataclass(frozen=True, slots=True)
class CostBound:
    """Bound of a number of instructions, and the text that a file has for it."""

    text: str
    comparison: str
    instructions: int

    def holds(self, cost: int) -> bool:
        """Return True for a cost within the bound."""
        return _COMPARISONS[self.comparison](cost, self.instructions)


def parse_cost_bound(text: str) -> CostBound | None:
    """Parse a bound; ``None`` for a text that is none."""
    match = re.fullmatch(PATTERN, text.strip())
    if match is None:
        return None
    comparison, number, unit = match.groups()
    return CostBound(text.strip(), comparison, round(float(number) * _UNITS[unit.lower()]))
