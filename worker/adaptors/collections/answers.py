"""Replies to requests for a collection, as OpenFn's service gives them."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn
from urllib.parse import parse_qs, unquote, urlsplit

from worker.adaptors.collections.stores import CollectionStore, Item, Items
from worker.adaptors.http.exchange import HttpReply, HttpRequest, Pairs
from worker.util.json import dumps
from worker.util.nesting import nests_deeper

DEFAULT_LIMIT = 1000
MAX_VALUE_CHARACTERS = 1_000_000
# As the service has them. A search takes time in proportion to both, and to the number of keys.
MAX_KEY_CHARACTERS = 255
# The service compares two times of each item with the four bounds of a query.
_BOUNDS: Mapping[str, Callable[[Item, int], bool]] = {
    "created_after": lambda item, at_us: item.created_us >= at_us,
    "created_before": lambda item, at_us: item.created_us < at_us,
    "updated_after": lambda item, at_us: item.updated_us >= at_us,
    "updated_before": lambda item, at_us: item.updated_us < at_us,
}
_PARAMETERS = frozenset(("key", "cursor", "limit", *_BOUNDS))


class _BadRequest(Exception):
    """A query that the service refuses."""


def answer(store: CollectionStore, request: HttpRequest, root: str, now_us: int) -> HttpReply:
    """Handle a request below the URL ``root``, at a time in microseconds since the epoch."""
    parts = urlsplit(request.url)
    path = parts.path.removeprefix(urlsplit(root).path).strip("/")
    name, _, key = path.partition("/")
    query = {key: values[-1] for key, values in parse_qs(parts.query, True).items()}
    if not any(header.lower() == "authorization" for header, _ in request.headers):
        return _error(401, "Unauthorized")
    with store.update(unquote(name)) as items:
        if items is None:
            return _error(404, "Not Found")
        try:
            return _answer(request, items, unquote(key), query, now_us)
        except (_BadRequest, KeyError, TypeError, ValueError, RecursionError):
            return _error(400, "Bad Request")


def _answer(
    request: HttpRequest, items: Items, key: str, query: Mapping[str, str], now_us: int
) -> HttpReply:
    match request.method, bool(key):
        case "GET", True:
            return _get(items, key)
        case "GET", False:
            return _list(items, query)
        case "POST", False:
            return _set(items, json.loads(request.body)["items"], now_us)
        case "DELETE", True:
            removed = items.pop(key, None)
            error = None if removed else "Item Not Found"
            return _reply({"key": key, "deleted": int(bool(removed)), "error": error})
        case "DELETE", False:
            return _remove(items, query.get("key"))
        case _:
            return _error(404, "Not Found")


def _get(items: Items, key: str) -> HttpReply:
    if key not in items:
        return HttpReply(status=204, reason="No Content")
    return _reply(_fields(key, items[key]))


def _list(items: Items, query: Mapping[str, str]) -> HttpReply:
    if not query.keys() <= _PARAMETERS:
        raise _BadRequest
    limit = int(query.get("limit", DEFAULT_LIMIT))
    bounds = [(_BOUNDS[name], _time_us(query[name])) for name in _BOUNDS if name in query]
    matches = _pattern(query.get("key"))
    keys = list(items)
    selected = [
        key
        for key in keys[_position(query.get("cursor"), keys) :]
        if matches(key) and all(test(items[key], at_us) for test, at_us in bounds)
    ]
    page = selected[:limit]
    cursor = _cursor(page[-1]) if page and len(selected) > limit else None
    return _reply({"items": [_fields(key, items[key]) for key in page], "cursor": cursor})


def _set(items: Items, pairs: list[dict[str, Any]], now_us: int) -> HttpReply:
    new = {str(pair["key"]): str(pair["value"]) for pair in pairs}
    if len(new) < len(pairs):
        return _error(422, "duplicate_key")
    if any(len(value) > MAX_VALUE_CHARACTERS for value in new.values()):
        return _error(422, f"value: should be at most {MAX_VALUE_CHARACTERS} character(s)")
    if any(len(key) > MAX_KEY_CHARACTERS for key in new):
        return _error(422, f"key: should be at most {MAX_KEY_CHARACTERS} character(s)")
    # Before the first change: a request changes all of its items or none. A value that the file
    # cannot hold would make the collection unreadable for all runs.
    for value in new.values():
        if nests_deeper(value):
            raise _BadRequest
        json.loads(value, parse_constant=_refuse_constant)
    for key, value in new.items():
        created_us = items[key].created_us if key in items else now_us
        items[key] = Item(value, created_us, now_us)
    return _reply({"upserted": len(new), "error": None})


def _remove(items: Items, pattern: str | None) -> HttpReply:
    # Bounds of time in such a query are ignored, there as here.
    matches = _pattern(pattern)
    removed = [key for key in items if matches(key)]
    for key in removed:
        del items[key]
    return _reply({"key": pattern, "deleted": len(removed), "error": None})


def _pattern(pattern: str | None) -> Callable[[str], object]:
    """Return a test of keys: ``*`` is any text, and ``_`` any character, as in SQL's LIKE."""
    if pattern is None:
        return lambda key: True
    if len(pattern) > MAX_KEY_CHARACTERS:
        raise _BadRequest
    first, *pieces = map(_piece, pattern.split("*"))
    if not pieces:
        return first.fullmatch
    *pieces, last = pieces
    # Atomic: each piece stays at the first place that fits it. If others were tried after that, the
    # time would grow with a power of the number of stars.
    inner = "".join(f"(?>.*?{piece.pattern})" for piece in pieces)
    return re.compile(f"{first.pattern}{inner}.*{last.pattern}", re.DOTALL).fullmatch


def _piece(text: str) -> re.Pattern[str]:
    return re.compile("".join("." if char == "_" else re.escape(char) for char in text), re.DOTALL)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _cursor(key: str) -> str:
    return base64.b64encode(key.encode("utf-8", "surrogatepass")).decode()


def _position(cursor: str | None, keys: list[str]) -> int:
    if not cursor:
        return 0
    key = base64.b64decode(cursor, validate=True).decode("utf-8", "surrogatepass")
    if key not in keys:
        raise _BadRequest
    return keys.index(key) + 1


def _time_us(text: str) -> int:
    moment = datetime.fromisoformat(text)
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1e6)


def _fields(key: str, item: Item) -> dict[str, Any]:
    created, updated = (
        datetime.fromtimestamp(at_us / 1e6, UTC).isoformat(timespec="microseconds")
        for at_us in (item.created_us, item.updated_us)
    )
    return {"key": key, "value": item.value, "created": created, "updated": updated}


def _reply(content: dict[str, Any]) -> HttpReply:
    body = dumps(content).encode("utf-8", "surrogatepass")
    return HttpReply(status=200, reason="OK", headers=_headers(body), body=body)


def _error(status: int, message: str) -> HttpReply:
    body = dumps({"error": message}).encode()
    return HttpReply(status=status, reason=message, headers=_headers(body), body=body)


def _headers(body: bytes) -> Pairs:
    return ("content-type", "application/json"), ("content-length", str(len(body)))
