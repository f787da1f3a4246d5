"""Types of option values: numbers, durations and sizes with units, words of a list."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import click

from worker.util.units import parse_quantity

MAX_NUMBER = 10**9
"""The upper end of a range without one. Help and errors name it only to those who are beyond it."""


class NumberRange(click.FloatRange):
    """Number from ``min`` to ``max``; ``units`` maps suffixes to what they multiply it by."""

    name = "number"
    is_whole = False

    def __init__(self, *args: Any, units: Mapping[str, float] | None = None, **attrs: Any) -> None:
        super().__init__(*args, **attrs)
        self._upper: float = MAX_NUMBER if self.max is None else self.max
        self._units = units or {}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number. Fails with what was expected, an example of a unit included."""
        number = parse_quantity(value, self._units) if isinstance(value, str) else value
        if number is None or not self._contains(number):
            has_upper = self._has_upper or (number is not None and number > self._upper)
            self.fail(f"expected {self._describe(has_upper)}, found '{value}'", param, ctx)
        return int(number) if self.is_whole else float(number)

    @property
    def expected(self) -> str:
        """The accepted values, such as ``a number above 0 (or with a unit, such as 5m)``."""
        return self._describe(self._has_upper)

    @property
    def _has_upper(self) -> bool:
        return self._upper < MAX_NUMBER

    def _describe(self, has_upper: bool) -> str:
        low, high = self.min, self._upper
        upper = f" and up to {high:,.10g}" if has_upper else ""
        if low is None:
            extent = ""
        elif self.min_open:
            extent = f" above {low:,g}{upper}"
        else:
            extent = f" from {low:,} to {high:,.16g}" if upper else f" of at least {low:,}"
        with_unit = f" (or with a unit, such as {self._example})" if self._units else ""
        return f"a {'whole ' if self.is_whole else ''}number{extent}{with_unit}"

    @property
    def _example(self) -> str:
        return "500mb" if "mb" in self._units else "5m" if "s" in self._units else "50M"

    def _contains(self, number: float) -> bool:
        if not math.isfinite(number) or (self.is_whole and number != int(number)):
            return False
        above = self.min is None or number > self.min or (number == self.min and not self.min_open)
        return above and number <= self._upper


class WholeNumberRange(NumberRange):
    """Whole number from ``min`` to ``max``."""

    name = "whole number"
    is_whole = True


class OneOf(click.Choice[str]):
    """Word of a list."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the word. Fails with the words that are expected, and the nearest."""
        if value in self.choices:
            return str(value)
        words = [str(word) for word in self.choices]
        self.fail(f"unknown value '{value}' (expected one of {', '.join(words)})", param, ctx)
