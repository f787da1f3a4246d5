"""Differences between two states, field by field, as text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def differences(path: str, expected: Any, actual: Any, *, exact: bool) -> Iterator[str]:
    """Compare two states, a line per difference.

    Without ``exact``, objects may have more keys than expected.
    """
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        for key in expected:
            if key not in actual:
                yield f"{path}.{key}: expected {format_value(expected[key])}, found nothing"
            else:
                yield from differences(f"{path}.{key}", expected[key], actual[key], exact=exact)
        for key in actual if exact else ():
            if key not in expected:
                yield f"{path}.{key}: expected nothing, found {format_value(actual[key])}"
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        for index, (before, after) in enumerate(zip(expected, actual, strict=True)):
            yield from differences(f"{path}[{index}]", before, after, exact=exact)
    # To Python, True equals 1; to JSON it does not.
    elif expected != actual or isinstance(expected, bool) is not isinstance(actual, bool):
        yield f"{path}: expected {format_value(expected)}, found {format_value(actual)}"


def format_value(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:199]}…"
