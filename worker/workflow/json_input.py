"""Encoding of values from Python callers as JSON, with the place of what JSON cannot hold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from worker.errors import UsageError
from worker.util.json import dumps

_REMEDIES = {
    "float": "JSON has no such number: use None, or a string",
    "datetime": "use value.isoformat()",
    "date": "use value.isoformat()",
    "Decimal": "use float(value) or str(value)",
    "UUID": "use str(value)",
    "bytes": "use base64.b64encode(value).decode()",
    "set": "use a list",
    "Path": "use str(value)",
    "PosixPath": "use str(value)",
}


def encode_object(value: object, name: str) -> str:
    """Encode a mapping as JSON text; ``None`` is ``{}``.

    Raises :class:`UsageError` for what JSON cannot hold, with its path from ``name``.
    """
    if value is not None and not isinstance(value, Mapping):
        raise UsageError(f"{name}: expected a JSON object, found a {type(value).__name__}")
    try:
        text = dumps(dict(value or {}))
    except (TypeError, ValueError, RecursionError) as error:
        problem = next(_problems(value, name), f"{name}: expected a JSON object: {error}")
        raise UsageError(problem) from error
    # Only now, as to look at each value costs more than to encode all of them.
    if ("NaN" in text or "Infinity" in text) and (problem := next(_problems(value, name), "")):
        raise UsageError(problem)
    return text


def _problems(value: object, name: str) -> Iterator[str]:
    waiting: list[tuple[str, object, int]] = [(name, value, 0)]
    while waiting:
        path, item, depth = waiting.pop()
        if depth > 1000:
            return
        match item:
            case None | bool() | int() | str():
                continue
            case float() if math.isfinite(item):
                continue
            case Mapping():
                for key in item:
                    if not isinstance(key, str | int | float | bool | None):
                        yield f"{path} has a key of type {type(key).__name__}: keys are strings"
                items = [(f"{path}.{key}", each, depth + 1) for key, each in item.items()]
                waiting += reversed(items)
            case list() | tuple():
                numbered = enumerate(item)
                places = [(f"{path}[{index}]", each, depth + 1) for index, each in numbered]
                waiting += reversed(places)
            case _:
                kind = type(item).__name__
                text = str(item) if isinstance(item, float) else f"a {kind}"
                remedy = _REMEDIES.get(kind, "JSON has objects, lists, texts, numbers and None")
                yield f"{path} is {text}, which cannot be encoded as JSON ({remedy})"
