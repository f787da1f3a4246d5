"""Conversion of a Python step's result to JSON.

=================================================  ================================================
Python                                             JSON
=================================================  ================================================
``None``, ``bool``, ``int``, ``str``               themselves
``float``                                          itself; NaN and the infinities are ``null``
``dict`` and other mappings, dataclass instances   an object; its keys become text
``list``, ``tuple``, ``deque`` and the like        an array
``set``, ``frozenset``                             an array, sorted, so that a replay gives the same
``date``, ``datetime``, ``time``                   text, as ``isoformat()`` has it
``Decimal``, ``UUID``                              text: no digit is lost
``bytes`` and the like                             text, in base64
an ``Enum`` member                                 its value
a value that contains itself                       ``"[Circular]"`` where it does
anything else: functions, modules, other objects   left out, with a warning (``null`` in an array)
=================================================  ================================================
"""

from __future__ import annotations

import json
import re
from binascii import b2a_base64
from collections.abc import Callable, Mapping, Sequence, Set, ValuesView
from dataclasses import fields, is_dataclass
from math import isfinite
from typing import Any, Final

from worker.util.nesting import NESTING_LIMIT, nests_deeper

SECRET_KEYS: Final = frozenset(("configuration", "response"))
"""Keys that are removed from every output."""

_LEFT_OUT: Final = object()
_SURROGATE = re.compile("[\ud800-\udfff]")


class TooDeepError(Exception):
    """A value is nested in more levels than a state may have."""


def is_nothing(value: Any) -> bool:
    """Return whether a result counts as no state: the values that are false in JavaScript."""
    if value is None or value is False:
        return True
    return isinstance(value, int | float | str) and (not value or value != value)


def fields_of(value: Any) -> Mapping[Any, Any] | None:
    """Return the fields of a value that becomes a JSON object; ``None`` for any other."""
    if isinstance(value, dict):
        return value
    if isinstance(value, Mapping):
        return {key: value[key] for key in value}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return None


def without_secrets(state: Mapping[Any, Any]) -> dict[Any, Any]:
    """Copy a state without the fields that no output has."""
    return {key: value for key, value in state.items() if key not in SECRET_KEYS}


def to_json(value: Any, warn: Callable[[str], None], origin: object = None) -> str | None:
    """Convert a value to JSON text; return ``None`` where nothing of it is JSON.

    ``warn`` receives a message for each type that was left out. ``origin`` is the object that
    ``value`` is a shallow copy of: a reference back to it counts as a cycle. Raises
    :class:`TooDeepError` on a value that is nested too deeply, and any exception that the value's
    own methods raise.
    """
    text: str | None
    try:
        try:
            # Nearly every state is plain data already, and the json module is much faster.
            text = _dumps(value)
        except (TypeError, ValueError):
            text = _convert(value, warn, origin)
    except RecursionError:
        raise TooDeepError from None
    if text and nests_deeper(text):
        raise TooDeepError
    # UTF-8 has no encoding for a lone surrogate, so it is written as an escape.
    return text and _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _convert(value: Any, warn: Callable[[str], None], origin: object) -> str | None:
    converter = _Converter(origin)
    result = converter.convert(value)
    for message in converter.warnings():
        warn(message)
    return None if result is _LEFT_OUT else _dumps(result)


class _Converter:
    """Copies a value into types that ``json`` can write."""

    def __init__(self, origin: object) -> None:
        self._ancestors = {id(origin)}
        self._path: list[str] = ["state"]
        self._left_out: dict[str, list[str]] = {}

    def convert(self, value: Any) -> Any:
        if value is None or isinstance(value, str | int):
            return value
        if isinstance(value, float):
            return value if isfinite(value) else None
        if (write := _writer(value)) is not None:
            return self.convert(write(value))
        if id(value) in self._ancestors:
            return "[Circular]"
        if len(self._ancestors) > NESTING_LIMIT + 1:
            raise TooDeepError
        self._ancestors.add(id(value))
        result = self._container(value)
        self._ancestors.discard(id(value))
        return result

    def _container(self, value: Any) -> Any:
        members = fields_of(value)
        if members is not None:
            # No comprehensions: each would take one more frame of Python's stack for each level.
            fields_left: dict[str, Any] = {}
            for key, item in list(members.items()):
                converted = self._at(key, item)
                if converted is not _LEFT_OUT:
                    fields_left[_key(key)] = converted
            return fields_left
        if isinstance(value, Set):
            value = _in_order(value)
        if isinstance(value, Sequence | ValuesView):
            items: list[Any] = []
            for index, item in enumerate(value):
                converted = self._at(index, item)
                items.append(None if converted is _LEFT_OUT else converted)
            return items
        self._left_out.setdefault(type(value).__name__, []).append(".".join(self._path))
        return _LEFT_OUT

    def _at(self, key: object, item: Any) -> Any:
        self._path.append(_key(key))
        result = self.convert(item)
        self._path.pop()
        return result

    def warnings(self) -> list[str]:
        """List a warning for each type that was left out."""
        return [
            f"{paths[0]} was left out: a {kind} is not JSON"
            + (f" ({len(paths) - 1} more like it)" if len(paths) > 1 else "")
            for kind, paths in self._left_out.items()
        ]


def _key(key: object) -> str:
    if isinstance(key, str):
        return key
    if key is None or isinstance(key, int | float):
        return json.dumps(key)
    write = _writer(key)
    return str(write(key) if write else key)


def _in_order(items: Set[Any]) -> list[Any]:
    # A set has no order of its own, and a replay must give the same text.
    try:
        return sorted(items)
    except TypeError:
        return sorted(items, key=repr)


def _base64(data: Any) -> str:
    return b2a_base64(bytes(data), newline=False).decode("ascii")


# By name, so that no module is imported for a step that does not use it.
_WRITERS: Final[dict[str, Callable[[Any], Any]]] = {
    "datetime.date": lambda value: value.isoformat(),
    "datetime.time": lambda value: value.isoformat(),
    "decimal.Decimal": str,
    "uuid.UUID": str,
    "builtins.bytes": _base64,
    "builtins.bytearray": _base64,
    "builtins.memoryview": _base64,
    "collections.UserString": str,
    "enum.Enum": lambda value: value.value,
}


def _writer(value: object) -> Callable[[Any], Any] | None:
    for kind in type(value).__mro__:
        write = _WRITERS.get(f"{kind.__module__}.{kind.__qualname__}")
        if write is not None:
            return write
    return None
