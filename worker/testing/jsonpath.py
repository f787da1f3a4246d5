"""JSONPath (RFC 9535) in expectations."""

from __future__ import annotations

import functools
from typing import Any

from jsonpath import JSONPath, JSONPathEnvironment, JSONPathError

QueryError = JSONPathError

# The result of a path that leads nowhere. Not None: a path can lead to null.
NO_MATCH: Any = object()


@functools.cache
def parse(path: str) -> JSONPath:
    """Parse a path. Raises :class:`QueryError` on one that is malformed."""
    parsed = JSONPathEnvironment(strict=True).compile(path)
    assert isinstance(parsed, JSONPath), "the strict language has no unions of paths"
    return parsed


def query(path: str, state: Any) -> Any:
    """Look up the value at a path that can match one place only, else the list of all matches.

    A path for one place that matches nothing gives :data:`NO_MATCH`.
    """
    parsed = parse(path)
    matches = parsed.findall(state)
    if not parsed.singular_query():
        return matches
    return matches[0] if matches else NO_MATCH
