"""Files as plain data: what is read, what is refused, and the position that an error has."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import LoadError
from worker.util.nesting import NESTING_LIMIT
from worker.workflow.documents.data import (
    NODE_LIMIT,
    describe,
    format_path,
    to_plain_data,
)
from worker.workflow.documents.document import parse_json, parse_yaml, read_document, read_text


def yaml(text: str) -> Any:
    return parse_yaml(text, "x")[0]


def refused(text: str) -> LoadError:
    with pytest.raises(LoadError) as caught:
        parse_yaml(text, "x")
    return caught.value


# --- YAML ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("No", "No"),
        ("y", "y"),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("2024-01-31", "2024-01-31"),
        ("12:30:45", "12:30:45"),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("-12", -12),
        ("1e3", 1000.0),
        (".5", 0.5),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("1" * 30, float("1" * 30)),
        ("'true'", "true"),
        ("!!str 12", "12"),
        ("=", "="),
    ],
)
def test_plain_words_mean_what_yaml_1_2_says(written: str, expected: Any) -> None:
    value = yaml(f"a: {written}")["a"]
    assert value == expected and type(value) is type(expected)


def test_keys_are_the_words_that_were_written() -> None:
    document = yaml("on: 1\nyes: 2\ntrue: 3\n1.0: 4\n007: 5\n~: 6")
    assert list(document) == ["on", "yes", "true", "1.0", "007", "~"]


def test_a_key_of_its_own_wins_over_a_merged_one_on_either_side() -> None:
    text = "base: &b {x: 1, y: 1, z: 1}\na:\n  x: 2\n  <<: *b\n  y: 2\n"
    assert yaml(text)["a"] == {"x": 2, "y": 2, "z": 1}


def test_of_several_merged_mappings_the_first_wins() -> None:
    text = "a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b]}"
    assert yaml(text)["c"] == {"x": 1, "y": 2}


def test_a_key_that_stands_twice_names_both_lines() -> None:
    error = refused("edges:\n  a:\n    b: 1\n  c: 2\n  a: 3\n")
    assert "'a' stands here and on line 2" in str(error)
    assert (error.path, error.line, error.column) == ("edges", 5, 3)


def test_words_with_anchors_can_be_keys_and_aliases_of_them_too() -> None:
    assert yaml("&a x: 1\nb: *a") == {"x": 1, "b": "x"}
    assert yaml("a: &a x\n*a : 2") == {"a": "x", "x": 2}


def test_an_alias_of_a_mapping_is_no_key() -> None:
    assert "a key must be a word" in str(refused("a: &a {x: 1}\n*a : 2"))


def test_nesting_through_aliases_counts() -> None:
    levels = "[" * 150, "]" * 150
    error = refused(f"a: &a {levels[0]}{levels[1]}\nb: {levels[0]}*a{levels[1]}")
    assert "nested more than 200 levels" in str(error)


def test_nesting_up_to_the_limit_is_read() -> None:
    assert yaml("[" * NESTING_LIMIT + "]" * NESTING_LIMIT)
    assert "nested more than" in str(refused("[" * (NESTING_LIMIT + 1) + "]" * (NESTING_LIMIT + 1)))


@pytest.mark.parametrize(
    "text", ["a: !!binary aGk=", "a: !!set {x}", "a: !mine [1]", "a: !!int '3'", "!!omap []"]
)
def test_tags_are_refused(text: str) -> None:
    assert "is not allowed" in str(refused(text))


def test_a_tab_is_named_as_what_is_wrong() -> None:
    error = refused("steps:\n\t- id: a")
    assert "a tab stands here; indent with spaces" in str(error)
    assert (error.line, error.column) == (2, 1)


def test_a_control_character_is_named_with_its_place() -> None:
    error = refused("steps:\n  a: b\0")
    assert "U+0000" in str(error)
    assert (error.line, error.column) == (2, 7)


def test_a_number_beyond_all_numbers_is_refused() -> None:
    assert "out of range" in str(refused("a: 1e999"))


def test_a_place_is_that_of_the_value_or_of_the_nearest_around_it() -> None:
    _, place = parse_yaml("a:\n  - x: 1\n    y: [2,\n      3]\n", "x")
    assert place(("a", 0, "y", 1)) == (4, 7)
    assert place(("a", 0, "y")) == (3, 8)
    assert place(("a", 0, "z", 4)) == (2, 5)
    assert place(()) == (1, 1)


@pytest.mark.slow
def test_a_deep_and_long_file_is_read_in_little_memory() -> None:
    """A path kept for each value would be 200 keys, two hundred thousand times."""
    import tracemalloc

    text = "[" * 199 + "a," * 50_000 + "a" + "]" * 199
    tracemalloc.start()
    try:
        parse_yaml(text, "x")
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()


# --- JSON ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[NaN]", "the number NaN is out of range"),
        ("[-Infinity]", "out of range"),
        ("[1e999]", "the number 1e999 is out of range"),
        ("[" + "1" * 5000 + "]", "a number is out of range"),
        ('{"a": {"b": 1, "b": 2}}', "the key 'b' stands twice"),
        ("[1] 2", "not JSON: Extra data"),
        ("{'a': 1}", "not JSON"),
        ('["\0"]', "not JSON"),
    ],
)
def test_what_only_looks_like_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(LoadError) as caught:
        parse_json(text, "x")
    assert message in str(caught.value)


def test_an_error_in_json_names_line_and_column() -> None:
    with pytest.raises(LoadError) as caught:
        parse_json('{\n  "a": 1,\n  b: 2\n}', "x")
    assert (caught.value.line, caught.value.column) == (3, 3)


TEXT = st.text('ab:,[]{}"\\\n\té😀\x7f', max_size=5)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=15,
)


def paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every value inside, and its path."""
    yield path, value
    if isinstance(value, dict | list):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths(one, (*path, key))


@given(VALUES, st.sampled_from([None, 2]), st.booleans())
def test_every_value_in_json_is_found_at_its_place(
    value: Any, indent: int | None, escaped: bool
) -> None:
    from worker.workflow.documents.json_reader import JsonPositions

    text = json.dumps(value, indent=indent, ensure_ascii=escaped)
    place, lines = JsonPositions(text), text.split("\n")
    for path, expected in paths(value):
        line, column = place(path)
        rest = "\n".join([lines[line - 1][column - 1 :], *lines[line:]])
        assert json.JSONDecoder().raw_decode(rest)[0] == expected


# --- files --------------------------------------------------------------------------------------


def test_json_in_a_file_of_another_name_is_read_and_located(tmp_path: Path) -> None:
    (tmp_path / "plan.txt").write_text('{"a":\n  "\\ud83d\\ude00"}')
    document = read_document(tmp_path / "plan.txt", located=True)
    assert document.root == {"a": "😀"}
    assert document.locate(("a",)) == (2, 3)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    for name, text in (("a.yaml", "a: 1"), ("a.json", '{"a": 1}')):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert read_document(tmp_path / name).root == {"a": 1}


def test_bytes_that_are_not_utf_8_are_named_with_their_place(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"a: 1\nb: caf\xe9")
    with pytest.raises(LoadError, match="0xe9") as caught:
        read_document(tmp_path / "a.yaml")
    assert (caught.value.line, caught.value.column) == (2, 7)


@pytest.mark.parametrize("name", ["nowhere.yaml", "a\0b", "x" * 5000, "."])
def test_a_path_that_cannot_be_read_is_a_load_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(LoadError, match=r"cannot be read|expected a file|not a file|no such file"):
        read_document(tmp_path / name)


def test_a_file_that_says_less_than_it_holds_is_not_read_whole() -> None:
    """Files under /proc have the size 0."""
    file = Path("/proc/self/environ")
    if not file.exists():
        pytest.skip("no /proc")
    if len(file.read_bytes()) < 2:
        pytest.skip("an empty environment")
    with pytest.raises(LoadError, match="over the limit"):
        read_text(file, 1)


# --- dicts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({1, 2}, "found a set"),
        (b"x", "found a bytes"),
        (object(), "found a object"),
        (math.nan, "out of range"),
        (math.inf, "out of range"),
        (10**400, "out of range"),
        ({1: 2}, "expected keys that are text, found the number 1"),
    ],
)
def test_a_dict_holds_only_what_json_can_say(value: object, message: str) -> None:
    with pytest.raises(LoadError, match=message) as caught:
        to_plain_data({"a": [0, value]}, "<dict>")
    assert caught.value.path == "a[1]"


def test_a_dict_is_copied_to_its_last_part() -> None:
    shared: dict[str, Any] = {"n": [1]}
    copy = to_plain_data({"a": shared, "b": (shared,)}, "<dict>")
    assert copy == {"a": {"n": [1]}, "b": [{"n": [1]}]}
    assert copy["a"] is not shared and copy["a"]["n"] is not copy["b"][0]["n"]


@pytest.mark.parametrize(
    ("limit", "text"),
    [(20_000, "20,000"), pytest.param(NODE_LIMIT, "2,000,000", marks=pytest.mark.slow)],
)
def test_a_dict_whose_parts_are_shared_until_they_explode_is_refused(
    limit: int, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.workflow.documents.data.NODE_LIMIT", limit)
    bomb: list[Any] = ["x"] * 10
    for _ in range(20):
        bomb = [bomb] * 10
    with pytest.raises(LoadError, match=f"more than {text} values"):
        to_plain_data({"a": bomb}, "<dict>")


@given(VALUES)
def test_plain_data_stays_as_it_is(value: Any) -> None:
    assert to_plain_data({"a": value}, "<dict>") == {"a": value}


# --- words of messages --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (("workflows", "a", "jobs", 0), "workflows.a.jobs[0]"),
        (("edges", "a->b"), "edges.a->b"),
        (("jobs", "fetch [x]/1"), 'jobs["fetch [x]/1"]'),
        (("jobs", "\x1b[2J"), 'jobs["\\u001b[2J"]'),
        (("a",) * 30, "a.a.a.a.a.a.a.a … a.a.a.a"),
    ],
)
def test_a_path_reads_as_people_write_it(keys: tuple[str | int, ...], text: str) -> None:
    assert format_path(keys) == text


def test_a_long_text_is_shown_by_its_start() -> None:
    assert len(describe("x" * 10_000)) < 100
