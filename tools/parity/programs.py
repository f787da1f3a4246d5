"""A program: a plan and its input, of one kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct


class Program(Struct, frozen=True, kw_only=True):
    """A plan, as the ``openfn`` command reads one, with the run's input.

    ``difference`` is the documented difference that the program shows, else empty.
    """

    kind: str
    number: int
    plan: Mapping[str, Any]
    input: Mapping[str, Any]
    difference: str = ""

    @property
    def steps(self) -> list[dict[str, Any]]:
        steps: list[dict[str, Any]] = self.plan["workflow"]["steps"]
        return steps
