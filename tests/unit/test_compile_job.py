"""Compilation of jobs: operations, lazy state, promises, imports, exports and free names."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.compiled_jobs import CompletedJob, body, run
from worker.compiler.compile_job import compile_job
from worker.errors import PlanError

# --- operations -------------------------------------------------------------------------------


def test_top_level_calls_become_operations_in_order() -> None:
    ran = run("set('a', 1);\nset('b', 2)\nfn(s => ({...s, c: s.a + s.b}));")
    assert (ran.state, ran.count) == ({"a": 1, "b": 2, "c": 3}, 3)


@pytest.mark.parametrize(
    "source",
    [
        "fn(x)",
        "(fn(x))",
        "http.get(x);",
        "fn(x)(y)",
        "a[0](x)",
        "new X().y()",
        "'a'.b()",
        "console.log(1);",
        "Object.freeze(x);",
        "setTimeout(f, 1);",
    ],
)
def test_a_plain_call_moves(source: str) -> None:
    assert body(source).startswith("$worker.op(() => ")


@pytest.mark.parametrize(
    "source",
    [
        "fn?.(x);",
        "a?.b();",
        "a(), b();",
        "new X();",
        "await fn(x);",
        "f`x`;",
        "if (x) { fn(y); }",
        "{ fn(y); }",
        "x = fn(y);",
        "!fn(y);",
    ],
)
def test_anything_else_stays_where_it_is(source: str) -> None:
    assert body(source) == source


def test_an_operation_that_awaits_gets_an_async_thunk() -> None:
    assert run("set('v', await Promise.resolve(7));").state == {"v": 7}
    assert body("fn(async s => await s);") == "$worker.op(() => fn(async s => await s));"


@pytest.mark.parametrize(
    "source",
    [
        "await (async () => { done.push(1) })();",
        "await (f)().then(g);",
        "await (f)();",
        "await (Promise.resolve(1)).then(g);",
        "const x = await (f)().then(g);",
        "await [f][0]();",
        "fn(await (f)());",
        "fn(await (f(await (f()))));",
    ],
)
def test_await_is_a_keyword_wherever_a_call_could_be_read_instead(source: str) -> None:
    before = """
        const done = [], g = (x) => { done.push(1); return [x] };
        const f = async () => { done.push(1); return s => s };
    """
    job = compile_job(f"{before}\n{source}\nfn(s => ({{n: done.length}}))")
    ran = run(job)
    assert ran.error == ""
    assert ran.state["n"] > 0
    assert "await" not in job.free + job.free_calls


def test_top_level_await_works() -> None:
    assert run("const x = await Promise.resolve(4); export default [s => ({x})];").state == {"x": 4}


def test_operations_follow_what_the_default_export_lists() -> None:
    assert run("set('a', 2); export default [set('a', 1)];").state == {"a": 2}


@pytest.mark.parametrize("source", ["", "   ", "// nothing", ";;"])
def test_a_source_without_statements_has_no_operations(source: str) -> None:
    assert run(source, a=1) == CompletedJob(state={"a": 1})


# --- lazy state -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "compiled"),
    [
        ("get($.data.url)", "get(state => state.data.url)"),
        ("get($?.data)", "get(state => state?.data)"),
        ("get($['data'])", "get(state => state['data'])"),
        ("post('/x', {id: $.data.id, n: $.n})", None),
        ("get(`/x/${$.id}/${$.n}`)", "get(state => `/x/${state.id}/${state.n}`)"),
        ("get([$.a, 1])", "get(state => [state.a, 1])"),
        ("get($.a.b())", "get(state => state.a.b())"),
        ("get(f($.a))", "get(f(state => state.a))"),
        ("fn(state => $.a)", "fn(state => state.a)"),
        ("fn((state) => ({a: $.a}))", "fn((state) => ({a: state.a}))"),
        ("fn(s => { f($.a); })", "fn(s => { f(state => state.a); })"),
        ("get(await $.a)", "get(async state => await state.a)"),
        ("get({...$.a})", "get(state => ({...state.a}))"),
        ("get($)", "get($)"),
        ("get($(1))", "get($(1))"),
        ("get({$})", "get({$})"),
        ("get(a.$.b)", "get(a.$.b)"),
        ("get('$.data')", "get('$.data')"),
    ],
)
def test_lazy_state_wraps_the_argument_of_the_nearest_call(
    source: str, compiled: str | None
) -> None:
    compiled = compiled or "post('/x', state => ({id: state.data.id, n: state.n}))"
    arrow = "async () =>" if source.startswith("get(await") else "() =>"
    assert body(source) == f"$worker.op({arrow} {compiled})"


@pytest.mark.parametrize(
    "source",
    [
        "const $ = {a: 1}; get($.a)",
        "import $ from 'x'; get($.a)",
        "fn(({$}) => $.a)",
        "fn($ => $.a)",
        "fn(s => { for (const $ of s) f($.a) })",
    ],
)
def test_a_dollar_that_the_author_declares_is_no_lazy_state(source: str) -> None:
    assert "$.a" in body(source)


@pytest.mark.parametrize(
    ("source", "message", "place"),
    [
        ("const x = $.data;", "in a statement", "(1:11)"),
        ("fn(state => {\n  const x = $.data\n})", "in a statement", "(2:13)"),
        ("\n$.x = 1", "in a statement", "(2:1)"),
        ("if ($.x) {}", "in a statement", "(1:5)"),
        ("fn(s => $.x)", "whose parameter is not state", "(1:9)"),
        ("fn(() => $.x)", "whose parameter is not state", "(1:10)"),
        ("'é'; fn((a, b) => $.x)", "whose parameter is not state", "(1:19)"),
        ("fn(...$.x)", "spread", "(1:7)"),
    ],
)
def test_lazy_state_in_the_wrong_place_is_an_error(source: str, message: str, place: str) -> None:
    with pytest.raises(PlanError) as caught:
        compile_job(source)
    assert caught.value.type == "SyntaxError"
    assert message in str(caught.value)
    assert place in str(caught.value)


def test_lazy_state_is_the_state_when_the_operation_runs() -> None:
    assert run("set('a', 2);\nset('b', $.a * 21)").state == {"a": 2, "b": 42}


# --- promises ---------------------------------------------------------------------------------


def test_then_receives_the_operations_result() -> None:
    assert run("set('a', 1).then(s => ({...s, b: s.a + 1}));").state == {"a": 1, "b": 2}


def test_catch_receives_the_error_and_the_state() -> None:
    ran = run("fail('e1').catch((e, s) => ({...s, caught: e.message}));", a=1)
    assert ran.state == {"a": 1, "caught": "e1"}


def test_catch_then_then_run_in_that_order() -> None:
    source = "fail('x')\n  .catch(() => ({n: 1}))\n  .then(s => ({n: s.n + 1}));"
    assert run(source).state == {"n": 2}
    assert body(source).count("\n") == 2


def test_nested_operations_can_be_chained_too() -> None:
    source = "each([1, 2], set('x', $.item).then(s => ({...s, sum: (s.sum ?? 0) + s.x})));"
    assert run(source).state == {"item": 2, "x": 2, "sum": 3}


def test_operations_in_a_default_export_can_be_chained() -> None:
    assert run("export default [set('a', 1).then(s => ({b: s.a}))]").state == {"b": 1}


@pytest.mark.parametrize(
    "source",
    [
        "fn(s => f(s).then(g));",
        "fn(function (s) { return f(s).catch(g); });",
        "fn(s => { f().then(g); });",
        "const x = await f().then(g);",
        "class A { x = f().then(g) }",
        "import('x').then(g);",
        "f?.().then(g);",
        "f().finally(g);",
    ],
)
def test_ordinary_promises_are_left_alone(source: str) -> None:
    assert "defer" not in body(source)


# --- imports and exports ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clause", "expression", "value"),
    [
        ("d", "d", "d"),
        ("{a}", "a", "a"),
        ("{a, b as c}", "a + c", "ab"),
        ("{default as q, 'odd-name' as o}", "q + o", "dodd"),
        ("* as n", "n.a", "a"),
        ("d, {a}", "d + a", "da"),
        ("d, * as n", "d + n.b", "db"),
        ("{a,}", "a", "a"),
        ("{}", "1", 1),
    ],
)
def test_every_form_of_import(clause: str, expression: str, value: Any) -> None:
    assert run(f"set('v', {expression});\nimport {clause} from 'x'").state == {"v": value}


def test_imports_are_hoisted_in_order_and_keep_the_lines() -> None:
    source = (
        "fn(s => n.n);\nimport {\n  a,\n} from 'x' with {type: 'json'};\nimport 'y'\n"
        "import * as n from 'y'"
    )
    assert body(source).count("\n") == source.count("\n")
    first = body(source).split("\n")[0]
    assert first.startswith(
        "const {a} = $worker.import('x', 2, 1, [\"a\"]); $worker.import('y', 5, 1, []); "
        "const n = $worker.import('y', 6, 1, []);"
    )
    assert run(source).state == 1


def test_an_import_without_a_semicolon_does_not_join_its_neighbours() -> None:
    assert run("let a = 1\nimport 'y'\n;(fn(s => a))").state == 1


def test_dynamic_import_and_import_meta_come_from_the_worker() -> None:
    source = "const y = await import('y');\nset('v', [y.n, import.meta.url]);"
    assert run(source).state == {"v": [1, "meta:"]}


def test_an_import_that_is_not_allowed_is_decided_at_run_time() -> None:
    assert run("import axios from 'axios'; fn(s => s);").error == "module not allowed: axios"


@pytest.mark.parametrize(
    "source",
    [
        "export default [f]; function f() { return 1 }",
        "export const a = 1; export default [() => a];",
        "const a = 1; export {a, a as b}; export default [() => a]",
        "export function f() { return 1 } export default [f]",
        "export class A { static f = () => 1 } export default [A.f]",
        "export default [() => 1]\nexport * from 'x'; export {a} from 'x'; export * as q from 'y'",
    ],
)
def test_every_form_of_export(source: str) -> None:
    assert run(source).state == 1


@pytest.mark.parametrize(
    "source",
    [
        "export default function foo() { return 1 }\n(g)();\nfoo();",
        "export default function () { return 1 }\n(g)();",
        "export default async function () {}\n(g)();",
        "export default class A {}\n(g)();\nnew A();",
        "export default class {}\n(g)();",
        "export default function* () {}\n(g)();",
    ],
)
def test_a_default_function_or_class_is_a_declaration(source: str) -> None:
    assert run("function g() { return () => 1 }\n" + source).error.endswith("not iterable")


@pytest.mark.parametrize("source", ["if (x) { import 'y' }", "fn(() => { export const a = 1 })"])
def test_imports_and_exports_must_stand_at_the_top_level(source: str) -> None:
    with pytest.raises(PlanError, match=r"\(1:\d+\)") as caught:
        compile_job(source)
    assert caught.value.type == "SyntaxError"


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "free"),
    [
        ("fn(x => x + y)", "fn y"),
        ("const a = b; let [c, {d: e = f, ...g}] = h; a; c; e; g", "b f h"),
        ("var {[k]: v} = o; v", "k o"),
        ("function f(a, b = c, ...d) { return a + b + d + e } f()", "c e"),
        ("{ let a = 1; function f() {} var v; } a; f; v", "a f"),
        ("for (const a of b) a; a; for (let i = 0;;) i; i; for (var k in o) k; k", "a b i o"),
        ("for ({x} of y) x", "x y"),
        ("try { a } catch ({message, code: [c]}) { message; c } message", "a message"),
        ("try {} catch { e }", "e"),
        (
            "class A extends B { [k] = A; m(p) { p; q } static { var s; s; t } #z = this.#z } A",
            "B k q t",
        ),
        ("(class N { m() { N } }); N", "N"),
        ("(function g() { g }); g", "g"),
        ("l: for (;;) { break l; }", ""),
        ("({a, b: c, d() { e }, [f]: 1, 'g': h, ...i})", "a c e f h i"),
        ("x.y.z; x?.[w]", "w x"),
        ("typeof u; undefined; this; null", "u"),
        ("import d, {a as b} from 'x'; d; b; a", "a"),
        ("export {a}; const a = 1", ""),
        ("async x => await x; async () => { for await (const y of z) y }", "z"),
        ("switch (a) { case b: let c; default: c } c", "a b c"),
        ("`${a}${`${b}`}`; t`x`", "a b t"),
        ("({a = 1, b: [c]} = d)", "a c d"),
        ("const \\u0061b = 1, \\u{63} = 2; ab; c", ""),
        ("const 名 = 1; 名; 別", "別"),
        ("(a, {b}, [c] = d) => { var a; b; c }", "d"),
        ("var x = 1; { let x; } x", ""),
        ("new.target; import.meta; super_", "super_"),
        ("f(g => { g(); h() })", "f h"),
    ],
)
def test_free_names_are_those_that_no_scope_declares(source: str, free: str) -> None:
    assert compile_job(source).free == tuple(free.split())


def test_free_calls_are_the_free_names_that_are_called_or_hold_what_is_called() -> None:
    job = compile_job("fn(a, b.c(), new D(), e?.(), t`x`); function f() {} f(); g")
    assert job.free_calls == ("b", "e", "fn", "t")
