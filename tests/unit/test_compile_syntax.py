"""Syntax that the compiler accepts and rejects, in jobs and conditions."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support.compiled_jobs import CompletedJob, body, evaluate, run
from worker.compiler.compile_job import compile_condition, compile_job
from worker.compiler.syntax import MARK_LIMIT, _count_marks, check_module
from worker.engine.shared import blank_instance
from worker.errors import PlanError

SYNTAX_ERRORS = Path(__file__).parents[1] / "data" / "syntax-errors.json"

# --- syntax -----------------------------------------------------------------------------------

MODERN = [
    "const s = null, a = s?.x?.[0]?.(1) ?? 5;",
    "let a; a ??= 1; a ||= 2; a &&= 3;",
    "class A { #p = 1; static s = 2; static { A.t = 3 } #m() {} get #g() { return #p in this } }",
    "const r = [/(?<x>a)/u, /(?<=a)b/, /[\\p{L}--[a-z]]/v, /a/dgimsuy];",
    "const n = [1_000, 0b1, 0o7, 0xff, 10n, 1e3, .5];",
    "const x = await 1; for await (const y of [x]) y;",
    "async function* g() { yield* h(); await 1; } function* h() {}",
    "const t = String.raw`\\u ${1} \\x`;",
    "const s = '😀𠮷\\u{1F600}'; const 名前 = `é`;",
    "try { throw 1 } catch { } finally { }",
    "const {a, ...b} = {...{c: 1}}; const f = (x = 1, [y] = [2], ...z) => 2 ** 3;",
    "label: for (const x of []) { continue label }",
    "const o = {async *[Symbol.iterator]() {}, get a() { return 1 }, set a(v) {}, async b() {}};",
    "let async = 1, of = 2, get = 3, set_ = 4, from = 5, as = 6; async + of + get + from + as;",
    "var n = 3; while (n --> 0) {}",
    "const q = new.target, d = 4 / 2 / 1, e = /=/.test('=');",
    "class B extends Array { constructor() { super(); super.x } static async = 1; get; set }",
    "if (1) ; else ; do ; while (0) var z = 1",
    "const u = '\\u2028', v = `a${`b${1}`}`;",
]


@pytest.mark.parametrize("source", MODERN)
def test_modern_syntax_compiles_and_runs(source: str) -> None:
    assert run(source, a=1) == CompletedJob(state={"a": 1})


@pytest.mark.parametrize(
    "source",
    [
        "#!/usr/bin/env node\nimport j from 'x' with {type: 'json'};\nset('v', j)",
        "#!/usr/bin/env node\nset('v', 'd')",
    ],
)
def test_a_hashbang_is_dropped(source: str) -> None:
    assert run(source).state == {"v": "d"}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("fn((state) => {", "Unexpected end of input (1:16)"),
        ("fn(state => {\n  const = 1;\n})", "Unexpected token '=' (2:9)"),
        ("const x = ;", "Unexpected token ';' (1:11)"),
        ("a b", "Unexpected identifier 'b' (1:3)"),
        ("a 1", "Unexpected number (1:3)"),
        ("f(}", "Unexpected token '}' (1:3)"),
        ("'abc", "Invalid or unexpected token (1:1)"),
        ("'é'; x = ;", "Unexpected token ';' (1:10)"),
        ("import x from;", "Unexpected token ';' (1:14)"),
        ("export default [", "Unexpected end of input (1:17)"),
        ("return 1", "Illegal return statement (1:1)"),
        ("}); evil(); (function () {", "Unexpected token '}' (1:1)"),
        ("const x = <a/>;", "Unexpected token '<' (1:11)"),
    ],
)
def test_what_the_engine_refuses_is_a_syntax_error_in_nodes_words(
    source: str, message: str
) -> None:
    with pytest.raises(PlanError) as caught:
        compile_job(source)
    assert (str(caught.value), caught.value.type) == (message, "SyntaxError")


@pytest.mark.slow
def test_every_error_of_syntax_has_nodes_words() -> None:
    cases: list[tuple[str, str]] = json.loads(SYNTAX_ERRORS.read_text("utf-8"))
    answers = [(source, _refusal(source)) for source, _ in cases]
    assert answers == [(source, words) for source, words in cases]


def _refusal(source: str) -> str:
    try:
        check_module(source)
    except PlanError as error:
        return re.sub(r" \(\d+:\d+\)$", "", str(error))
    return ""


def test_the_check_of_a_doubtful_source_never_runs_it() -> None:
    with pytest.raises(PlanError, match="Unexpected token"):
        compile_job("while (true) {}; <a/>")


@pytest.mark.slow
@pytest.mark.parametrize("opening", ["(", "[", "f(", "{", "!", "a=>", "`${", "{a:", "a?b:", "-"])
def test_a_deeply_nested_source_compiles_or_is_refused(opening: str) -> None:
    closing = {"(": ")", "[": "]", "f(": ")", "{": "}", "`${": "}`", "{a:": "}"}.get(opening, "")
    source = "x = " + opening * 20_000 + "1" + closing * 20_000
    try:
        job = compile_job(source)
    except PlanError as error:
        assert error.type == "SyntaxError"
    else:
        assert len(job.body) >= len(source)


@pytest.mark.slow
@pytest.mark.parametrize("link", [".then(f)", ".a", "()", "[0]", "+1", "?.a", "`x`"])
def test_a_long_chain_compiles(link: str) -> None:
    job = compile_job("op()" + link * 20_000)
    assert job.body.count("defer") == (20_000 if link == ".then(f)" else 0)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("a(1);" * 400_000, r"1,200,000 marks and words, expected at most 1,000,000"),
        ("a\n" * 1_000_001, r"1,000,001 marks and words"),
        ("a " * 1_000_001, r"1,000,001 marks and words"),
    ],
    ids=["marks", "lines", "words"],
)
def test_a_source_over_a_limit_is_refused(source: str, message: str) -> None:
    with pytest.raises(PlanError, match=message) as caught:
        compile_job(source)
    assert caught.value.type == "SyntaxError"


def test_long_texts_in_a_source_are_no_reason_to_refuse_it() -> None:
    source = (
        "const codes = {\n" + "  'AB-12': 'a long name of a ward',\n" * 60_000 + "};\nfn(s => s)"
    )
    assert len(source) > 2_000_000 and _count_marks(source.encode()) < MARK_LIMIT
    assert len(compile_job("const x = '" + "y" * 3_000_000 + "';\nfn(s => s)").body) > 3_000_000


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(PlanError, match=r"surrogate pair \(2:2\)"):
        compile_job("f(\n'\ud800')")


# --- conditions -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("state.data.age > 5", "state.data.age > 5"),
        ("  !state.errors;  ", "!state.errors"),
        ("state?.data?.x ?? false // note", "state?.data?.x ?? false"),
        ("({a: 1}).a", "({a: 1}).a"),
        ("a &&\n  b", "a &&\n  b"),
        ("true", "true"),
        ("1 < 2", "1 < 2"),
        ("(state.a = 1, true)", "(state.a = 1, true)"),
    ],
)
def test_a_condition_is_one_expression(text: str, expression: str) -> None:
    assert compile_condition(text) == expression


@pytest.mark.parametrize(
    "text",
    [
        "state.(",
        "}{",
        "",
        "  // nothing",
        "a; b",
        "const a = 1",
        "return true",
        "if (a) b",
        "function f() {}",
        "a b",
        "true) || (true",
        "1); evil(); (1",
        "<a/>",
        "import x from 'y'",
        "x\ud800",
    ],
)
def test_anything_else_is_no_condition(text: str) -> None:
    with pytest.raises(PlanError) as caught:
        compile_condition(text)
    assert caught.value.type == "EdgeConditionError"


# --- what people write ------------------------------------------------------------------------

CASES = Path(__file__).parents[1] / "data" / "conformance.jsonl"


def sources() -> list[tuple[str, bool]]:
    """Every job of the conformance cases, and whether its syntax is right."""
    valid_by_source: dict[str, bool] = {}
    for line in CASES.read_text("utf-8").splitlines():
        case = json.loads(line)
        wrong = case["id"].startswith("syntax-error")
        for step in case["plan"]["workflow"]["steps"]:
            source = step.get("expression")
            if source:
                valid_by_source[source] = not (wrong and source.endswith("{"))
    return list(valid_by_source.items())


@pytest.mark.parametrize(("source", "valid"), sources())
def test_the_conformance_jobs_compile_exactly_where_they_should(source: str, valid: bool) -> None:
    if not valid:
        with pytest.raises(PlanError, match=r"Unexpected end of input \(1:\d+\)"):
            compile_job(source)
        return
    evaluate(blank_instance(), f"(async function ($worker) {{'use strict';\n{body(source)}\n}})")
