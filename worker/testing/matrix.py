"""One case that stands for many: every combination of the values in its matrix.

    - name: a ${error} goes to the nurse
      matrix: {error: [JobError, TypeError, RangeError]}
      steps: {fetch-patient: {fails: "${error}"}}

A text that is nothing but ``${name}`` becomes the value itself, whatever its type; elsewhere the
value is written into the text.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from worker.util.json import dumps
from worker.workflow.documents.cursor import Cursor
from worker.workflow.documents.data import shorten

LIMIT = 10_000
"""The most cases that one matrix may stand for."""

_VARIABLE = re.compile(r"\$\{([\w-]+)\}")


def expand(node: Cursor) -> Iterator[Cursor]:
    """The cases that a case stands for: itself, where it has no matrix."""
    if not node.has("matrix"):
        yield node
        return
    values = {name: _values(one) for name, one in node.at("matrix").mapping().items()}
    count = math.prod(map(len, values.values()))
    if count > LIMIT:
        node.at("matrix").fail(f"the matrix stands for {count} cases, over the limit of {LIMIT}")
    bare = {key: value for key, value in node.value.items() if key != "matrix"}
    _check_used(node, bare, values)
    for combination in itertools.product(*values.values()):
        filled = _fill(bare, dict(zip(values, combination, strict=True)))
        if filled.get("name") == bare.get("name"):
            filled["name"] = f"{bare.get('name', '')} [{', '.join(map(_text, combination))}]"
        yield Cursor(node.document, filled, node.path, node.warnings)


def _values(node: Cursor) -> list[Any]:
    found = [one.value for one in node.elements()]
    if not found:
        node.fail("expected a list of values, found none")
    return found


def _check_used(node: Cursor, bare: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    used = set(_VARIABLE.findall(dumps(bare)))
    for name in values:
        if name not in used:
            node.at("matrix").at(name).fail(f"the case never uses ${{{shorten(name)}}}")


def _fill(value: Any, binding: Mapping[str, Any]) -> Any:
    match value:
        case str():
            return _fill_text(value, binding)
        case list():
            return [_fill(one, binding) for one in value]
        case dict():
            return {_text(_fill(key, binding)): _fill(one, binding) for key, one in value.items()}
        case _:
            return value


def _fill_text(text: str, binding: Mapping[str, Any]) -> Any:
    whole = _VARIABLE.fullmatch(text)
    if whole and whole[1] in binding:
        return binding[whole[1]]
    return _VARIABLE.sub(lambda found: _text(binding.get(found[1], found[0])), text)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else dumps(value)
