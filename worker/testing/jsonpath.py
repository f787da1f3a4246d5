"""JSONPath (RFC 9535) in expectations."""

from __future__ import annotations

import functools
from typing import Any

from jsonpath import JSONPath, JSONPathEnvironment, JSONPathError

QueryError = JSONPathError

NOTHING: Any = object()
"""What a path finds that leads nowhere."""


@functools.cache
def parse(path: str) -> JSONPath:
    """A path, ready to be asked. Raises :class:`QueryError`."""
    found = JSONPathEnvironment(strict=True).compile(path)
    assert isinstance(found, JSONPath), "the strict language has no unions of paths"
    return found


def ask(path: str, state: Any) -> Any:
    """What a path finds: the value, or :data:`NOTHING`, where it can lead to one place alone;
    else the list of what it found."""
    query = parse(path)
    found = query.findall(state)
    if not query.singular_query():
        return found
    return found[0] if found else NOTHING
