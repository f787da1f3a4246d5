"""Errors of msgspec's conversion in the words of the files that people write."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import msgspec
from msgspec import inspect

from worker.workflow.documents.data import KeyPath, did_you_mean, shorten
from worker.workflow.documents.document import Document

_UNKNOWN = re.compile(r"Object contains unknown field `([^`]*)`")
_MISSING = re.compile(r"Object missing required field `([^`]*)`")
_VALUE = re.compile(r"Invalid enum value (.*)", re.DOTALL)
_TYPES = re.compile(r"`([a-z| ]+)`")
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "object": "a mapping",
    "array": "a list",
    "null": "nothing",
}
_PART = re.compile(r"\[(\d+)\]|([^.\[\]]+|\[\.\.\.\])")
_IS_MISSING = "the key is missing"
# msgspec names no keys of mappings.
_ANY_KEY = "[...]"


def locate_mismatch(error: msgspec.ValidationError, kind: Any) -> tuple[KeyPath, str]:
    """Return the path of a wrong value and what is wrong with it; ``kind`` is the type of all."""
    # From its end: the name of an unknown key may hold the same words.
    text, _, place = str(error).rpartition(" - at `$")
    text, where = (text, place.strip("`")) if text else (place, "")
    path = tuple(int(index) if index else key for index, key in _PART.findall(where))
    if missing := _MISSING.match(text):
        return (*path, missing[1]), _IS_MISSING
    if unknown := _UNKNOWN.match(text):
        return path, f"unknown key '{unknown[1]}'{_hint(unknown[1], _keys_at(kind, path))}"
    if value := _VALUE.match(text):
        return path, f"unknown value {shorten(value[1])}{_expected(_values_at(kind, path))}"
    text = _TYPES.sub(lambda match: _in_words(match[1]), text)
    text = text.replace("Expected ", "expected ").replace(", got ", ", found ")
    return path, text.replace(" >= ", " of at least ").replace(" > 0.0", " above 0")


def describe_mismatch(error: msgspec.ValidationError, kind: Any) -> str:
    """Return the place in the data and what is wrong there; ``kind`` is the type to convert to."""
    path, text = _with_missing_key(*locate_mismatch(error, kind))
    place = "".join(map(_part, path)).removeprefix(".")
    return f"{place}: {text}" if path else text


def fail_mismatch(document: Document, error: msgspec.ValidationError, kind: Any) -> NoReturn:
    """Raise a :class:`LoadError` with the line and column of what is wrong in a document."""
    path, text = _with_missing_key(*locate_mismatch(error, kind))
    document.fail(_named_keys(path, document.root, kind), text)


def _with_missing_key(path: KeyPath, text: str) -> tuple[KeyPath, str]:
    if text != _IS_MISSING:
        return path, text
    return path[:-1], f"the key '{path[-1]}' is missing"


def _named_keys(path: KeyPath, root: Any, kind: Any) -> KeyPath:
    """Return a path in which the keys of mappings that msgspec leaves out have their names."""
    for depth, key in enumerate(path):
        if key == _ANY_KEY:
            before = path[:depth]
            mapping = functools.reduce(lambda value, part: value[part], before, root)
            # Alone in its mapping, the wrong value is wrong still, and a right one is not.
            wrong = (
                name
                for name, value in mapping.items()
                if not _is_valid(_with(root, before, {name: value}), kind)
            )
            path = (*before, next(wrong, key), *path[depth + 1 :])
    return path


def _with(root: Any, path: KeyPath, value: Any) -> Any:
    """Return data in which the value under a path is another one."""
    if not path:
        return value
    inner = _with(root[path[0]], path[1:], value)
    if isinstance(root, Mapping):
        return {**root, path[0]: inner}
    return [inner if index == path[0] else item for index, item in enumerate(root)]


def _is_valid(data: Any, kind: Any) -> bool:
    try:
        msgspec.convert(data, kind)
    except msgspec.ValidationError:
        return False
    return True


def _part(key: str | int) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    # For any key of a mapping.
    return key if key == _ANY_KEY else f".{key}"


def _in_words(types: str) -> str:
    names = [name for name in types.split(" | ") if name != "null"] or ["null"]
    return " or ".join(_WORDS.get(name, name) for name in names)


def _hint(name: str, known: list[str]) -> str:
    return did_you_mean(name, known) or _expected(known)


def _expected(known: list[str]) -> str:
    return f" (expected one of {', '.join(known)})" if known else ""


def _keys_at(kind: Any, path: KeyPath) -> list[str]:
    return [
        field.encode_name
        for info in _types_at(inspect.type_info(kind), path)
        if isinstance(info, inspect.StructType)
        for field in info.fields
    ]


def _values_at(kind: Any, path: KeyPath) -> list[str]:
    values: list[str] = []
    for info in _types_at(inspect.type_info(kind), path):
        match info:
            case inspect.LiteralType(values=literals):
                values += map(str, literals)
            case inspect.EnumType(cls=enumeration):
                values += (str(member.value) for member in enumeration)
    return values


def _types_at(info: inspect.Type, path: KeyPath) -> Iterator[inspect.Type]:
    """Yield the types that a value at a path can have."""
    match info:
        case inspect.UnionType(types=types):
            for each in types:
                yield from _types_at(each, path)
        case _ if not path:
            yield info
        case inspect.StructType(fields=fields):
            for field in fields:
                if field.encode_name == path[0]:
                    yield from _types_at(field.type, path[1:])
        case inspect.DictType(value_type=inner):
            yield from _types_at(inner, path[1:])
        case inspect.ListType(item_type=inner) | inspect.VarTupleType(item_type=inner):
            yield from _types_at(inner, path[1:])
