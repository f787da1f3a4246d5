"""What jobs of public projects do on OpenFn, and did not here: each kind with neighbours."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.helpers import run_job

STATE = {"data": {"n": 1, "xml": "<a/>", "items": [1]}}


@pytest.mark.parametrize(
    "source",
    [
        "fn(s => fn(x => x));",
        "fn(async s => (x => x));",
        "const op = (n) => (s) => s;\nfn(s => s);\nfn(s => { return op(1); });",
        "fn(s => class {});",
        "fn(s => Symbol('x'));",
    ],
)
def test_a_step_that_returns_a_function_crashes(source: str) -> None:
    result = run_job(source, STATE)
    assert (result.status, result.error_type) == ("crashed", "SyntaxError")
    assert '"undefined" is not valid JSON' in str(result.error_message)


@pytest.mark.parametrize(
    "source",
    [
        "console.log('x');\nfn(s => s);",
        "fn(s => s);\nJSON.stringify({});",
        "setTimeout(() => {}, 1);",
        "parseInt('5');",
    ],
)
def test_a_plain_call_at_the_top_is_no_operation(source: str) -> None:
    result = run_job(source, STATE)
    assert (result.status, result.error_type) == ("crashed", "ValidationError")


@pytest.mark.parametrize(
    ("source", "message", "column"),
    [
        ("for (const m of s.data.xml.nope()) m;", "s.data.xml.nope is not a function or its return value is not iterable", 28),
        ("[...s.data.nope()];", "s.data.nope is not a function or its return value is not iterable", 12),
        ("s.data.items.find(i => i > 9).id;", "Cannot read properties of undefined (reading 'id')", 30),
        ("s.data?.nope.x;", "Cannot read properties of undefined (reading 'x')", 13),
        ("(s.nope).x;", "Cannot read properties of undefined (reading 'x')", 10),
        ("new Date().x.y;", "Cannot read properties of undefined (reading 'y')", 14),
        ("s.data.then(1);", "s.data.then is not a function", 8),
        ("s.data.catch(1);", "s.data.catch is not a function", 13),
        ("const [a] = s.nope;", "undefined is not iterable (cannot read property Symbol(Symbol.iterator))", 13),
        ("let a; [a] = s.nope;", "undefined is not iterable (cannot read property Symbol(Symbol.iterator))", 12),
        ("[1].map(([k]) => k);", "number 1 is not iterable (cannot read property Symbol(Symbol.iterator))", 9),
        ("Math.max(...s.nope);", "s.nope is not iterable (cannot read property undefined)", 6),
        ("const z = 1; z++;", "Assignment to constant variable.", 15),
        ("s.nope.x++;", "Cannot read properties of undefined (reading 'x')", 3),
        ("const o = { get v() { return 1; } }; o.v = 2;", "Cannot set property v of #<Object> which has only a getter", 42),
        ("s.nope`x`;", "s.nope is not a function", 7),
        ("[1, 2].nope();", "[1,2].nope is not a function", 8),
        ("({ a: 1 }).nope();", "{(intermediate value)}.nope is not a function", 12),
        ("undefined();", "undefined is not a function", 1),
    ],
)  # fmt: skip
def test_an_error_has_the_words_and_the_column_of_v8(
    source: str, message: str, column: int
) -> None:
    result = run_job(f"fn((s) => {{\n{source}\nreturn s;\n}});", STATE)
    entry = result.final_state["errors"]["a"]
    assert (entry["message"], entry["pos"]) == (
        f"TypeError: {message}",
        {"line": 2, "column": column},
    )
    assert list(entry) == ["source", "name", "pos", "step", "severity", "subtype", "message"]


def test_an_error_before_the_first_operation_is_none_of_an_adaptor() -> None:
    source = "const check = () => { throw new Error('early'); };\nconst v = check();\nfn(s => s);"
    entry = run_job(source, STATE).final_state["errors"]["a"]
    assert entry == {
        "source": "runtime",
        "name": "JobError",
        "severity": "fail",
        "message": "early",
    }


def test_a_failed_step_keeps_the_place_of_its_errors() -> None:
    state: dict[str, Any] = {"errors": {"old": {}}, "data": {}}
    result = run_job("fn((s) => { s.x = 1; throw new Error('no'); });", state)
    assert list(result.final_state) == ["errors", "data", "x"]
    assert list(result.final_state["errors"]) == ["old", "a"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("fn(5);", "func is not a function"),
        ("each('$.data.items[*]', 5);", "operation is not a function"),
        ("map('$.data.items[*]', 5);", "callback is not a function"),
        ("fnIf(true);", "operation is not a function"),
        ("merge(5, {});", "expr.replaceAll is not a function"),
    ],
)
def test_common_names_what_is_no_function(source: str, message: str) -> None:
    entry = run_job(source, STATE).final_state["errors"]["a"]
    assert (entry["message"], entry["operationName"]) == (message, source.partition("(")[0])


def test_the_global_object_is_the_one_of_openfn() -> None:
    source = """fn(() => ({ data: [
      Object.prototype.toString.call(globalThis), typeof this, Object.keys(globalThis).sort(),
    ] }));"""
    names = ["Buffer", "clearInterval", "clearTimeout", "console", "parseFloat", "parseInt"]
    expected = ["[object Object]", "undefined", [*names, "setInterval", "setTimeout", "state"]]
    assert run_job(source, STATE).final_state["data"] == expected


def test_an_empty_line_is_not_logged() -> None:
    result = run_job("fn(s => { console.log(); console.log(''); return s; });", STATE)
    assert [line for step in result.steps for line in step.log] == [""]


def test_a_class_crashes_by_its_name() -> None:
    source = "class MySyntaxError extends Error {}\nfn(() => { throw new MySyntaxError('x'); });"
    assert run_job(source, STATE).error_type == "SyntaxError"
    source = "class Mine extends SyntaxError {}\nfn(() => { throw new Mine('x'); });"
    assert run_job(source, STATE).error_type == "JobError"
