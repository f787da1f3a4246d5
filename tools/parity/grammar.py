"""Grammar of generated sources: rules by name, each with its alternatives.

The rules stand in ``rules.txt``: ``[name]``, then one alternative a line. ``<name>`` is replaced by
an alternative of that rule, ``⏎`` by a line feed and ``␍`` by a carriage return.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

_RULES: Final = Path(__file__).with_name("rules.txt")
_REFERENCE: Final = re.compile(r"<([a-z_]+)>")


def read_rules(text: str) -> dict[str, list[str]]:
    """Return the alternatives by rule. A line that begins with ``#`` is a comment."""
    rules: dict[str, list[str]] = {}
    name = ""
    for line in filter(None, text.splitlines()):
        if line.startswith("[") and line.endswith("]") and " " not in line and "," not in line:
            name = line[1:-1]
            rules[name] = []
        elif not line.startswith("# "):
            rules[name].append(line.replace("⏎", "\n").replace("␍", "\r"))
    return rules


RULES: Final[Mapping[str, Sequence[str]]] = read_rules(_RULES.read_text("utf-8"))


class Grammar:
    """Generator of texts. Each alternative of a rule is used before any is used again."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._waiting: dict[str, list[str]] = {}

    def expand(self, rule: str) -> str:
        """Return an expansion of a rule."""
        if not self._waiting.get(rule):
            self._waiting[rule] = self._random.sample(RULES[rule], len(RULES[rule]))
        return self.fill(self._waiting[rule].pop())

    def fill(self, text: str) -> str:
        """Replace the references in a text."""
        return _REFERENCE.sub(self._reference, text)

    def _reference(self, match: re.Match[str]) -> str:
        # A regular expression's group is written like a reference.
        return self.expand(match[1]) if match[1] in RULES else match[0]
