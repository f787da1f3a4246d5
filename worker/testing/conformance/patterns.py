"""Patterns of messages: JSON with variables, which the first match binds. Pure.

``${name}`` in a text is a variable, and ``${*}`` any value. An object matches one that has its
members at least, a list one of the same length. ``{$has: pattern}`` matches a list with such an
element, ``{$contains: text}`` a text, ``{$above: number}`` a larger number, ``{$not: value, $bind:
name}`` another value, ``{$absent: true}`` a member that is not there, or null.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Variables = Mapping[str, Any]
_VARIABLE = re.compile(r"\$\{([a-z_0-9]+|\*)\}")
_ABSENT = object()


def fill(template: Any, variables: Variables) -> Any:
    """Fill the values of its variables into a template. Raises :class:`KeyError`."""
    if isinstance(template, dict):
        return {key: fill(value, variables) for key, value in template.items()}
    if isinstance(template, list):
        return [fill(value, variables) for value in template]
    if not isinstance(template, str):
        return template
    if whole := _VARIABLE.fullmatch(template):
        return variables[whole[1]]
    return _VARIABLE.sub(lambda match: str(variables[match[1]]), template)


def match_value(pattern: Any, value: Any, variables: Variables) -> Variables | None:
    """Return the variables after a match, with those that it binds; None without a match."""
    if isinstance(pattern, str):
        return _match_text(pattern, value, variables)
    if isinstance(pattern, dict):
        return _match_object(pattern, value, variables)
    if isinstance(pattern, list):
        if not isinstance(value, list) or len(value) != len(pattern):
            return None
        return _match_all(zip(pattern, value, strict=True), variables)
    # True is 1 in Python, and not in JSON.
    same = pattern == value and isinstance(pattern, bool) is isinstance(value, bool)
    return variables if same else None


def _match_text(pattern: str, value: Any, variables: Variables) -> Variables | None:
    if value is _ABSENT:
        return None
    if (whole := _VARIABLE.fullmatch(pattern)) is None:
        return variables if fill(pattern, variables) == value else None
    if whole[1] == "*":
        return variables
    if whole[1] not in variables:
        return {**variables, whole[1]: value}
    return variables if variables[whole[1]] == value else None


def _match_object(pattern: dict[str, Any], value: Any, variables: Variables) -> Variables | None:
    match pattern:
        case {"$absent": True}:
            return variables if value is _ABSENT or value is None else None
        case {"$not": other, "$bind": str(name)}:
            return None if value == fill(other, variables) else {**variables, name: value}
        case {"$contains": str(text)}:
            return variables if isinstance(value, str) and fill(text, variables) in value else None
        case {"$above": bound}:
            low = fill(bound, variables)
            both = isinstance(value, int | float) and isinstance(low, int | float)
            return variables if both and value > low else None
        case {"$has": element}:
            matches = (match_value(element, each, variables) for each in _elements(value))
            return next((bound for bound in matches if bound is not None), None)
        case _ if isinstance(value, dict):
            return _match_all(
                ((item, value.get(key, _ABSENT)) for key, item in pattern.items()), variables
            )
    return None


def _elements(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _match_all(pairs: Any, variables: Variables) -> Variables | None:
    for pattern, value in pairs:
        bound = match_value(pattern, value, variables)
        if bound is None:
            return None
        variables = bound
    return variables
