"""The built-in common adaptor, as jobs use it. The expected values were observed from
@openfn/language-common 3.3.4."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

import worker
from tests.support.helpers import job, run_job, workflow
from worker.core.events import RunLog

STATE = {
    "data": {"a": {"b": 1}, "items": [{"x": 1}, {"x": 2}], "s": "q"},
    "references": [{"r": 9}],
}


def value_of(expression: str, state: dict[str, Any] | None = None) -> Any:
    """Return what an expression over ``state`` gives, inside of an operation."""
    result = run_job(f"fn(async state => ({{ value: await ({expression}) }}));", state or STATE)
    assert result.status == "success", result.error
    return result.final_state.get("value")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("field('k', 'v')", ["k", "v"]),
        ("fields(field('a', 1), field('b', 2))", {"a": 1, "b": 2}),
        ("dataPath('a.b')", "$.data.a.b"),
        ("dataValue('a.b')(state)", 1),
        ("dataValue('items[*].x')(state)", 1),
        ("dataValue('items[?(@.x > 1)].x')(state)", 2),
        ("dataValue('zz')(state)", None),
        ("sourceValue('$.data.s')(state)", "q"),
        ("source('$.data.items[*].x')(state)", [1, 2]),
        ("source(['$', 'data', 'items', '*', 'x'])(state)", [1, 2]),
        ("merge(state.data.items, { q: 1 })(state)", []),
        ("lastReferenceValue('r')(state)", 9),
        ("index()({ index: 4 })", 4),
        ("join('$.data.items[*]', '$.data.s', 'k')(state)", [{"k": "q", "x": 1}, {"k": "q", "x": 2}]),
        ("merge('$.data.items[*]', fields(field('k', dataValue('s'))))(state)", [{"x": 1, "k": "q"}, {"x": 2, "k": "q"}]),
        ("toArray(1)", [1]),
        ("toArray([1])", [1]),
        ("arrayToString([1, 2], ', ')", "1, 2"),
        ("chunk([1, 2, 3], 2)", [[1, 2], [3]]),
        ("splitKeys({ a: 1, b: 2, c: 3 }, ['a', 'c'])", [{"b": 2}, {"a": 1, "c": 3}]),
        ("humanProper('hello_world')", "Hello World"),
        ("jsonValue({ a: { b: 2 } }, 'a.b')", 2),
        ("dateFns.format(dateFns.parse('2024-02-29', 'yyyy-MM-dd', new Date()), 'dd/MM/yy')", "29/02/24"),
        ("_.groupBy([1, 2, 3], n => n % 2)", {"0": [2], "1": [1, 3]}),
        ("composeNextState({ data: 1, references: [0] }, 2).references", [0, 1]),
    ],
)  # fmt: skip
def test_helpers(expression: str, expected: Any) -> None:
    assert value_of(expression) == expected


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("fn(s => ({ z: 1 }))", {"z": 1}),
        ("alterState(s => ({ z: 1 }))", {"z": 1}),
        ("fnIf(true, s => ({ y: 1 }))", {"y": 1}),
        ("fnIf(s => false, s => ({ y: 1 }))", STATE),
        ("fnIf($.data.s === 'q', fn(s => ({ y: 2 })))", {"y": 2}),
        ("combine(fn(s => ({ p: 1 })), fn(s => ({ q: s.p })))", {"q": 1}),
        ("as('k', fn(s => ({ data: 7 })))", {**STATE, "k": 7}),
        ("map('$.data.items[*]', d => d.x)", {**STATE, "data": [1, 2]}),
        ("group([{ a: 1 }, { a: 2 }, { a: 1 }], 'a')", {"data": {"1": [{"a": 1}, {"a": 1}], "2": [{"a": 2}]}, "references": [{"r": 9}]}),
        ("assert(true)", STATE),
        ("log('x')", STATE),
        ("cursor('2020-01-01T00:00:00Z')", {**STATE, "cursor": "2020-01-01T00:00:00Z"}),
        ("cursor($.cursor, { defaultValue: '2019' })", {**STATE, "cursor": "2019"}),
        ("cursor(22, { key: 'page' })", {**STATE, "page": 22}),
    ],
)  # fmt: skip
def test_operations(operation: str, expected: Any) -> None:
    result = run_job(f"{operation};", STATE)
    assert result.status == "success", result.error
    assert result.final_state == expected


SEEN = "fn(s => ({ ...s, seen: [...(s.seen ?? []), s.data.x, s.index] }))"


@pytest.mark.parametrize(
    "items", ["'$.data.items[*]'", "'data.items[*]'", "$.data.items", "[{ x: 1 }, { x: 2 }]"]
)
def test_each_runs_an_operation_for_every_item_and_leaves_the_last_one(items: str) -> None:
    state = run_job(f"each({items}, {SEEN});", STATE).final_state
    assert state["seen"] == [1, 0, 2, 1]
    assert (state["data"], state["index"]) == ({"x": 2}, 1)


def test_the_newer_each_gives_the_data_back() -> None:
    state = run_job(f"beta.each('$.data.items[*]', {SEEN});", STATE).final_state
    assert state["data"] == STATE["data"]


@pytest.mark.parametrize(
    "source", ["each($.nope, fn(s => s));", "each('$.data.items[*]', fn(s => {}));"]
)
def test_each_without_items_or_without_a_state_is_a_type_error(source: str) -> None:
    assert run_job(source, STATE).error_type == "TypeError"


def test_an_assertion_that_fails_says_so() -> None:
    assert run_job("assert(false);").error_message == "assertion statement failed with false"
    assert run_job("assert($.data.zz, 'no zz');", STATE).error_message == "no zz"


@pytest.mark.parametrize("word", ["now", "today", "yesterday", "3 days ago", "start", "end"])
def test_a_cursor_can_be_a_time(word: str) -> None:
    assert run_job(f"cursor('{word}');").final_state["cursor"].endswith("Z")


def test_log_lines_come_from_the_adaptor() -> None:
    result = run_job("log('patients:', $.data.items.length); debug('d');", STATE)
    lines = [(e.source, e.level, e.message) for e in result.events if isinstance(e, RunLog)]
    assert lines == [("ADA", "info", "patients: 2"), ("ADA", "debug", "d")]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("fn(s => s).then(s => ({ ...s, data: 1 }));", {"data": 1}),
        ("fn(s => { throw new Error('e1'); }).catch((e, s) => ({ data: e.message }));", {"data": "e1"}),
        ("import { fn as f } from '@openfn/language-common';\nf(s => ({ data: 2 }));", {"data": 2}),
        ("import * as common from '@openfn/language-common';\nfn(s => ({ data: common.toArray(1) }));", {"data": [1]}),
        ("const n = 3;\nfn(s => ({ data: n }));", {"data": 3}),
        ("each([1, 2], fn(s => s).then(s => ({ ...s, sum: (s.sum ?? 0) + s.data })));\nfn(s => ({ data: s.sum }));", {"data": 3}),
    ],
)  # fmt: skip
def test_jobs_as_people_write_them(source: str, expected: Any) -> None:
    assert run_job(source).final_state == expected


@pytest.mark.parametrize(
    "source",
    [
        "create('events', {});",
        "http.post('https://example.org');",
        "fn(s => ({ data: util.attr(s) }));",
        "import { create } from '@openfn/language-dhis2';\ncreate();",
        "fn(s => ({ data: 1 }));",
    ],
)
def test_a_step_whose_adaptor_is_not_installed_ends_as_exception(source: str) -> None:
    step = {"id": "a", "adaptor": "@openfn/language-dhis2@8.0.0", "expression": source}
    result = worker.run(workflow(step), {})
    assert (result.status, result.error_type) == ("exception", "AdaptorError")
    command = "worker adaptors install @openfn/language-dhis2@8.0.0"
    assert command in str(result.error_message)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("state.data.patient.age", "Cannot read properties of undefined (reading 'age')"),
        ("state.data.patient.age = 1", "Cannot set properties of undefined (setting 'age')"),
        ("state.data.items.flat2()", "state.data.items.flat2 is not a function"),
        ("state.nope()", "state.nope is not a function"),
        ("nope", "nope is not defined"),
        ("for (const x of state.data.a) {}", "state.data.a is not iterable"),
        ("[...state.data.zz]", "state.data.zz is not iterable"),
        ("new Array(-1)", "Invalid array length"),
        ("const f = () => f(); f()", "Maximum call stack size exceeded"),
        ("JSON.parse('{\"a\": x}')", 'Unexpected token \'x\', "{"a": x}" is not valid JSON'),
        ("const c = 1; JSON.stringify(1n)", "Do not know how to serialize a BigInt"),
        ("let q = r; let r = 1", "Cannot access 'r' before initialization"),
        ("decodeURIComponent('%')", "URI malformed"),
        ("[].reduce((a, b) => a)", "Reduce of empty array with no initial value"),
    ],
)
def test_the_engines_errors_are_worded_as_node_words_them(source: str, message: str) -> None:
    result = run_job(f"fn(state => {{ {source}; return state; }});", STATE)
    assert message in str(result.error_message)


def test_an_error_is_found_in_the_authors_own_line() -> None:
    source = "// ü a comment\nfn(state => state);\nget($.x);\nfn(state => {\n  const é = 'ñ'; throw new Error('here');\n});"
    result = worker.run(workflow(job(source.replace("get($.x);", "fnIf($.x, s => s);"))), {})
    assert result.error is not None and result.error.position is not None
    assert (result.error.position.line, result.error.position.column) == (5, 24)
    assert "throw new Error" in result.error.position.source_line


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("new URL('../x?a=1#h', 'https://u:p@ex.org:8080/a/b/').href", "https://u:p@ex.org:8080/a/x?a=1#h"),
        ("new URLSearchParams({ a: '1 2' }).toString()", "a=1+2"),
        ("new TextDecoder().decode(new TextEncoder().encode('hé😀'))", "hé😀"),
        ("[...structuredClone(new Map([[1, { a: [2] }]]))]", [[1, {"a": [2]}]]),
        ("btoa('a')", "YQ=="),
        ("new globalThis.URL('a:b').href", "a:b"),
    ],
)  # fmt: skip
def test_names_that_crash_on_openfn_need_an_option(expression: str, expected: Any) -> None:
    source = f"fn(async state => ({{ value: await ({expression}) }}));"
    result = run_job(source)
    assert result.error_type in ("ReferenceError", "TypeError")
    permissive = replace(workflow(job(source)), options={"permissive_globals": True})
    assert worker.run(permissive, {}).final_state == {"value": expected}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("Buffer.from('héllo').toString('base64')", "aMOpbGxv"),
        ("Buffer.concat([Buffer.from('61', 'hex'), Buffer.from('b')]).toString()", "ab"),
        ("new Promise(resolve => setTimeout(resolve, 5, 'late'))", "late"),
        ("new Promise(resolve => { let n = 0; const t = setInterval(() => { if (++n === 3) { clearInterval(t); resolve(n); } }, 1); })", 3),
    ],
)  # fmt: skip
def test_what_jobs_expect_of_the_web_and_of_node(expression: str, expected: Any) -> None:
    assert value_of(expression) == expected
