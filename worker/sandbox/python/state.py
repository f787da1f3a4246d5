"""State as JSON: the one rule for what a Python step may return.

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

SECRET_KEYS: Final = frozenset(("configuration", "response"))
"""What no output carries."""

_LEFT_OUT: Final = object()
_TOO_DEEP = "the state is nested too deeply to be JSON"
_SURROGATE = re.compile("[\ud800-\udfff]")


def is_nothing(value: Any) -> bool:
    """Whether a result counts as nothing: what JavaScript calls false, for both languages alike."""
    if value is None or value is False:
        return True
    return isinstance(value, int | float | str) and (not value or value != value)


def fields_of(value: Any) -> Mapping[Any, Any] | None:
    """The fields of a value that becomes a JSON object; ``None`` for any other."""
    if isinstance(value, dict):
        return value
    if isinstance(value, Mapping):
        return {key: value[key] for key in value}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return None


def without_secrets(state: Mapping[Any, Any]) -> dict[Any, Any]:
    """The state less the fields that no output carries."""
    return {key: value for key, value in state.items() if key not in SECRET_KEYS}


def to_json(value: Any, warn: Callable[[str], None], origin: object = None) -> str | None:
    """The JSON text of a value, or ``None`` where nothing of it is JSON.

    ``warn`` hears what was left out. ``origin`` is what ``value`` is a shallow copy of, so that a
    reference back to it is seen as the cycle that it is. Raises ``RecursionError`` on a value
    that is nested too deeply, and whatever the value's own methods raise.
    """
    text: str | None
    try:
        try:
            text = _dumps(value)
        except (TypeError, ValueError):
            text = _slowly(value, warn, origin)
    except RecursionError:
        raise RecursionError(_TOO_DEEP) from None
    # A lone surrogate is no character, so it travels escaped.
    return text and _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _slowly(value: Any, warn: Callable[[str], None], origin: object) -> str | None:
    plain = _Plain(origin)
    result = plain.convert(value)
    for message in plain.warnings():
        warn(message)
    return None if result is _LEFT_OUT else _dumps(result)


class _Plain:
    """Copies a value into what ``json`` knows."""

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
        self._ancestors.add(id(value))
        result = self._container(value)
        self._ancestors.discard(id(value))
        return result

    def _container(self, value: Any) -> Any:
        members = fields_of(value)
        if members is not None:
            named = ((_key(key), self._at(key, item)) for key, item in list(members.items()))
            return {key: item for key, item in named if item is not _LEFT_OUT}
        if isinstance(value, Set):
            value = _in_order(value)
        if isinstance(value, Sequence | ValuesView):
            items = [self._at(index, item) for index, item in enumerate(value)]
            return [None if item is _LEFT_OUT else item for item in items]
        self._left_out.setdefault(type(value).__name__, []).append(".".join(self._path))
        return _LEFT_OUT

    def _at(self, key: object, item: Any) -> Any:
        self._path.append(_key(key))
        result = self.convert(item)
        self._path.pop()
        return result

    def warnings(self) -> list[str]:
        """One line for each type that was left out."""
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
    try:
        return sorted(items)
    except TypeError:
        return sorted(items, key=repr)


def _base64(data: Any) -> str:
    return b2a_base64(bytes(data), newline=False).decode("ascii")


# By name, so that nothing is imported for a step that does not use it.
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
