"""Inputs as data: JSON with what JSON data cannot hold, and its spellings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Pairs:
    """An object with its keys in order, of which some may be equal."""

    items: tuple[tuple[str, Any], ...]

    def get(self, name: str) -> Any:
        """Return the first value under a key; ``None`` without one."""
        return next((value for key, value in self.items if key == name), None)


@dataclass(frozen=True, slots=True)
class Verbatim:
    """Text that stands in the input as it is: deep nests, endless numbers, what is no JSON."""

    text: str


def from_data(value: Any) -> Any:
    """Return JSON data with its objects as :class:`Pairs`."""
    if isinstance(value, Mapping):
        return Pairs(tuple((str(key), from_data(child)) for key, child in value.items()))
    if isinstance(value, list | tuple):
        return [from_data(child) for child in value]
    return value


def to_json(node: Any) -> str:
    """Spell a node as JSON text."""
    match node:
        case Verbatim(text):
            return text
        case Pairs(items):
            return "{" + ",".join(f"{_text(key)}:{to_json(child)}" for key, child in items) + "}"
        case list():
            return "[" + ",".join(map(to_json, node)) + "]"
        case str():
            return _text(node)
        case _:
            return json.dumps(node)


def to_yaml(node: Any, indent: int = 0) -> str:
    """Spell a node as YAML in blocks, with scalars as in JSON and texts of lines as blocks."""
    space = "  " * indent
    match node:
        case Pairs(items) if items:
            lines = [f"{space}{_key(key)}:{_yaml_value(child, indent)}" for key, child in items]
            return "\n".join(lines)
        case list() if node:
            return "\n".join(f"{space}-{_yaml_value(child, indent)}" for child in node)
        case _:
            return space + to_json(node)


def _yaml_value(node: Any, indent: int) -> str:
    if isinstance(node, Pairs | list) and to_json(node) not in ("{}", "[]"):
        return "\n" + to_yaml(node, indent + 1)
    if isinstance(node, str) and "\n" in node and node.isascii() and node.strip() == node:
        space = "  " * (indent + 1)
        return " |\n" + "\n".join(space + line for line in node.split("\n"))
    return " " + to_json(node)


def _key(key: str) -> str:
    return key if key.replace("_", "").isalpha() and key.isascii() else _text(key)


def _text(text: str) -> str:
    # Half a surrogate pair has no UTF-8, but JSON has an escape for it.
    plain = json.dumps(text, ensure_ascii=False)
    return json.dumps(text) if any("\ud800" <= char <= "\udfff" for char in text) else plain
