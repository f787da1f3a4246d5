"""Dates, comparators and errors of texts are those of V8."""

from __future__ import annotations

import json
import re
import shutil
from typing import Any

import pytest

from tests.support.helpers import run_job
from tests.support.v8_answers import RECORDED, answers_here, answers_in_node

PAIRS: dict[str, list[Any]] = json.loads(RECORDED.read_text("utf-8"))
INPUTS = {kind: [input for input, _ in pairs] for kind, pairs in PAIRS.items()}


def without_place(answer: Any) -> Any:
    # Only newer versions of Node add it.
    return re.sub(r" \(line \d+ column \d+\)", "", answer) if isinstance(answer, str) else answer


# Refused by V8 up to version 12 only, or in other words where the flag u is set.
KNOWN = {"(?i:a)", "a{1}{2}", "(?=a)*", "\\u{110000}", "\\c", "a{,5}", "{1}", "[z-\\d]", "\\u12", "[\\d-x]"}  # fmt: skip


def test_the_answers_are_those_of_v8() -> None:
    here = answers_here(INPUTS)
    different = [
        (kind, input, mine, there)
        for kind, pairs in PAIRS.items()
        for (input, there), mine in zip(pairs, here[kind], strict=True)
        if without_place(mine) != without_place(there)
    ]
    assert [case for case in different if case[0] != "regexp" or case[1][0] not in KNOWN] == []


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
def test_the_recorded_answers_are_those_of_node() -> None:
    there = answers_in_node(INPUTS)
    recorded = {kind: [answer for _, answer in pairs] for kind, pairs in PAIRS.items()}
    for kind in ("dates", "sorts"):
        assert there[kind] == recorded[kind]


def test_a_sort_keeps_holes_and_undefined_last() -> None:
    source = """fn((s) => {
      const list = [3, undefined, 1, , 2];
      list.sort((a, b) => a - b);
      return { data: { list, length: list.length, hole: 4 in list, own: Object.keys(list) } };
    });"""
    result = run_job(source)
    assert result.final_state["data"] == {
        "list": [1, 2, 3, None, None],
        "length": 5,
        "hole": False,
        "own": ["0", "1", "2", "3"],
    }


def test_a_reviver_throws_its_own_error() -> None:
    source = "fn(() => JSON.parse('[1]', () => { throw new SyntaxError('mine'); }));"
    result = run_job(source)
    assert result.error and (result.error.type, result.error.message) == ("SyntaxError", "mine")


def test_an_expression_is_of_the_class_that_a_job_names() -> None:
    source = """fn(() => ({ data: [
      new RegExp('a', 'g') instanceof RegExp, /a/.constructor === RegExp, RegExp('b').source,
      new RegExp(/c/i).flags, RegExp.name, 'xax'.replace(new RegExp('a'), 'b'),
      new (class Own extends RegExp { twice() { return this.source + this.source; } })('q').twice(),
    ] }));"""
    assert run_job(source).final_state["data"] == [True, True, "b", "i", "RegExp", "xbx", "qq"]


def test_a_date_of_a_text_and_one_of_numbers_are_alike() -> None:
    source = """fn(() => ({ data: [
      new Date('12/25/2024 5:00 PM').toISOString(), +new Date(2024, 11, 25, 17),
      new Date('2024-02-29').getTime() === Date.parse('2024-02-29'),
      new Date(new Date(5)).getTime(), Date.parse({ toString: () => '2024' }), String(new Date(0)),
      new (class Day extends Date {})('1 Feb 2024').toJSON(),
    ] }));"""
    assert run_job(source).final_state["data"] == [
        "2024-12-25T17:00:00.000Z", 1735146000000, True, 5, 1704067200000,
        "Thu Jan 01 1970 00:00:00 GMT+0000 (Coordinated Universal Time)", "2024-02-01T00:00:00.000Z",
    ]  # fmt: skip


# What one run throws and catches: V8's words for errors of the language.
ERRORS: list[list[str]] = json.loads(RECORDED.with_name("engine-errors.json").read_text("utf-8"))


def test_errors_of_the_language_have_the_words_of_v8() -> None:
    tried = "\n".join(
        f"try {{ await (async () => {{ let u; const nul = null; {statement}; }})();"
        " said.push(''); } catch (e) { said.push(e.message); }"
        for statement, _ in ERRORS
    )
    state = {"data": {"n": 5, "none": None, "items": [1, 2, 3], "patient": {"age": 7, "nope": 1}}}
    source = f"fn(async (input) => {{ const said = []; const s = {json.dumps(state)};\n{tried}\n"
    result = run_job(f"{source}return {{ data: said }}; }});")
    answers = result.final_state["data"]
    assert [[pair[0], words] for pair, words in zip(ERRORS, answers, strict=True)] == ERRORS


@pytest.mark.parametrize(
    ("source", "message", "line", "column"),
    [
        ("const a = 1;\nconst a = 2;", "Identifier 'a' has already been declared", 2, 7),
        ("fn((s) => {\n  let s = 1;\n});", "Identifier 's' has already been declared", 2, 7),
        ("fn((s) => {\n  break;\n});", "Illegal break statement", 2, 8),
        ("const é = 1; let é;", "Identifier 'é' has already been declared", 1, 18),
    ],
)
def test_an_error_that_the_engine_finds_has_a_place_in_the_source(
    source: str, message: str, line: int, column: int
) -> None:
    error = run_job(source).error
    assert error is not None
    assert (error.type, error.message) == ("SyntaxError", message)
    assert error.position is not None
    assert (error.position.line, error.position.column) == (line, column)
