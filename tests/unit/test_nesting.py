"""The limit of nesting, measured on text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import LoadError
from worker.util.nesting import (
    NESTING_LIMIT,
    VALUE_LIMIT,
    has_more_values,
    nests_deeper,
    value_nests_deeper,
)
from worker.workflow.documents.json_reader import parse

HARD = st.text(alphabet='"\\[]{}a,:\n\u00e9\ud800', max_size=6)
JSON = st.recursive(
    st.none() | st.integers() | HARD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(HARD, inner, max_size=3),
    max_leaves=30,
)


def levels(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(levels, value.values()), default=0)
    return 1 + max(map(levels, value), default=0) if isinstance(value, list) else 0


@given(JSON, st.booleans())
def test_the_levels_of_any_json_are_counted(value: Any, ascii: bool) -> None:
    depth = levels(value)
    text = json.dumps(value, ensure_ascii=ascii)
    for form in (text, text.encode("utf-8", "surrogatepass")):
        assert not nests_deeper(form, depth)
        assert depth == 0 or nests_deeper(form, depth - 1)
    assert not value_nests_deeper(value, depth)
    assert depth == 0 or value_nests_deeper(value, depth - 1)


@pytest.mark.slow
@pytest.mark.parametrize("pair", ["[]", "{}"])
def test_the_limit_itself_is_allowed(pair: str) -> None:
    def text(levels: int) -> str:
        head = "[" if pair == "[]" else '{"a":'
        return head * (levels - 1) + pair + pair[1] * (levels - 1)

    assert not nests_deeper(text(NESTING_LIMIT))
    assert nests_deeper(text(NESTING_LIMIT + 1))
    assert nests_deeper(text(1_000_000))
    assert nests_deeper(text(NESTING_LIMIT + 1).encode())


def test_brackets_in_strings_are_text() -> None:
    assert not nests_deeper(json.dumps(["[" * 1000, '\\"{' * 1000]))


@given(st.binary(max_size=300), st.text(alphabet='"\\[]{}', max_size=300))
def test_what_is_no_json_is_no_error(data: bytes, text: str) -> None:
    nests_deeper(data, 3)
    nests_deeper(text, 3)


def test_a_value_that_contains_itself_is_nested_too_deeply() -> None:
    value: list[Any] = []
    value.append(value)
    assert value_nests_deeper(value)


def values(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(map(values, value.values()))
    return 1 + sum(map(values, value)) if isinstance(value, list) else 1


@given(JSON)
def test_the_values_of_any_json_are_counted(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False)
    # An empty container may count twice.
    assert not has_more_values(text, 2 * values(value))
    assert has_more_values(text, values(value) - 1)


def test_a_file_of_too_many_values_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(LoadError, match="more than 2,000,000 values"):
        parse("[" + "{}," * VALUE_LIMIT + "{}]", "f.json")
