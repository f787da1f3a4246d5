"""Schemas that no value can be checked against, as they apply themselves to the same value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

# Keywords whose schemas apply to the value itself, and not to a part of it.
_ONE = ("not", "if", "then", "else")
_LISTS = ("allOf", "anyOf", "oneOf")

Resolve = Callable[[str], Any]


def applies_itself(root: Any, resolve: Resolve) -> bool:
    """Return True where a part of a schema applies itself to the value that it is applied to.

    ``resolve`` returns the part that a reference names.
    """
    done: set[int] = set()
    return any(_is_in_cycle(part, resolve, done) for part in _parts(root))


def _parts(root: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every object of a document: a reference can name any of them."""
    waiting = [root]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            yield part
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def _is_in_cycle(start: Mapping[str, Any], resolve: Resolve, done: set[int]) -> bool:
    """Search depth first; ``done`` holds the parts from which no cycle is reached."""
    path: list[tuple[int, Iterator[Any]]] = []
    active: set[int] = set()

    def enter(part: Any) -> None:
        active.add(id(part))
        path.append((id(part), _in_place(part, resolve)))

    if id(start) not in done:
        enter(start)
    while path:
        key, following = path[-1]
        part = next(following, None)
        if part is None:
            path.pop()
            active.discard(key)
            done.add(key)
        elif id(part) in active:
            return True
        elif id(part) not in done:
            enter(part)
    return False


def _in_place(schema: Mapping[str, Any], resolve: Resolve) -> Iterator[Mapping[str, Any]]:
    """Yield the schemas that a schema applies to the same value."""
    applied = [schema.get(keyword) for keyword in _ONE]
    for keyword in _LISTS:
        listed = schema.get(keyword)
        applied += listed if isinstance(listed, list) else []
    dependent = schema.get("dependentSchemas")
    applied += dependent.values() if isinstance(dependent, Mapping) else []
    for keyword in ("$ref", "$dynamicRef"):
        if isinstance(reference := schema.get(keyword), str):
            applied.append(resolve(reference))
    return (part for part in applied if isinstance(part, Mapping))
