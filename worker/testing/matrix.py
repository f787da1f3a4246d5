"""Matrix of a case: one case for every combination of the values in it.

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

# Checked before anything is built: five lists of a hundred values would fill the memory.
COMBINATION_LIMIT = 10_000

_VARIABLE = re.compile(r"\$\{([\w-]+)\}")


def expand(node: Cursor) -> Iterator[Cursor]:
    """Expand a case into one for each combination of its matrix; without one it is itself."""
    if not node.has("matrix"):
        yield node
        return
    values = {name: _values(entry) for name, entry in node.at("matrix").mapping().items()}
    count = math.prod(map(len, values.values()))
    if count > COMBINATION_LIMIT:
        node.at("matrix").fail(
            f"the matrix has {count} combinations, over the limit of {COMBINATION_LIMIT}"
        )
    template = {key: value for key, value in node.value.items() if key != "matrix"}
    _check_used(node, template, values)
    for combination in itertools.product(*values.values()):
        case = _fill(template, dict(zip(values, combination, strict=True)))
        # Names identify cases in reports, and seed a run's ids: they must differ.
        if case.get("name") == template.get("name"):
            case["name"] = f"{template.get('name', '')} [{', '.join(map(_text, combination))}]"
        yield Cursor(node.document, case, node.path, node.warnings)


def _values(node: Cursor) -> list[Any]:
    values = [entry.value for entry in node.elements()]
    if not values:
        node.fail("expected a list of values, found none")
    return values


def _check_used(node: Cursor, template: Mapping[str, Any], values: Mapping[str, list[Any]]) -> None:
    used = set(_VARIABLE.findall(dumps(template)))
    for name in values:
        if name not in used:
            node.at("matrix").at(name).fail(f"the case never uses ${{{shorten(name)}}}")


def _fill(value: Any, binding: Mapping[str, Any]) -> Any:
    match value:
        case str():
            return _fill_text(value, binding)
        case list():
            return [_fill(item, binding) for item in value]
        case dict():
            return {_text(_fill(key, binding)): _fill(item, binding) for key, item in value.items()}
        case _:
            return value


def _fill_text(text: str, binding: Mapping[str, Any]) -> Any:
    whole = _VARIABLE.fullmatch(text)
    if whole and whole[1] in binding:
        return binding[whole[1]]
    # A name that is not in the matrix stays as it stands: job code has ${...} of its own.
    return _VARIABLE.sub(lambda match: _text(binding.get(match[1], match[0])), text)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else dumps(value)
