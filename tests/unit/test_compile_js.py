"""Compiling jobs: what the real engine then does with the result."""

from __future__ import annotations

import itertools
import json
import re
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _quickjs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.compiler.compile_job import compile_condition, compile_job
from worker.compiler.compiled_job import CompiledJob
from worker.compiler.edits import Edits
from worker.errors import PlanError

HARNESS = """
const traces = new WeakMap();
Error.prepareStackTrace = (error, sites) => {
  const frames = sites.filter((site) => !site.isNative())
    .map((site) => [site.getLineNumber() - 1, site.getColumnNumber()]);
  if (!traces.has(error)) traces.set(error, frames); // a second throw would tell of itself
  return "";
};
const adaptor = {
  fn: (f) => (state) => f(state),
  set: (key, value) => (state) =>
    ({...state, [key]: typeof value === "function" ? value(state) : value}),
  each: (items, operation) => async (state) => {
    for (const item of items) state = await operation({...state, item});
    return state;
  },
  fail: (text) => async () => { throw new Error(text) },
  tag: (strings, ...values) => strings.raw.join("|") + values.join(),
  http: {get: (url) => (state) => ({...state, url: typeof url === "function" ? url(state) : url})},
};
const modules = {x: {default: "d", a: "a", b: "b", "odd-name": "odd"}, y: {n: 1}};
globalThis.outcome = undefined;
const $worker = {
  meta: {url: "meta:"}, imported: [], thunks: [], default: undefined,
  op(thunk) { this.thunks.push(thunk) },
  import(name) {
    this.imported.push(name);
    if (!modules[name]) throw new Error(`module not allowed: ${name}`);
    return modules[name];
  },
  dynamicImport: async (name) => modules[name],
  defer: (operation, onThen, onCatch) => async (state) => {
    try {
      const result = await operation(state);
      return onThen ? onThen(result) : result;
    } catch (error) {
      if (!onCatch) throw error;
      return onCatch(error, state);
    }
  },
};
async function run(body, input) {
  try {
    await body($worker);
    const operations = [...($worker.default ?? [])];
    for (const thunk of $worker.thunks) operations.push(await thunk());
    let state = input;
    for (const operation of operations) state = await operation(state);
    outcome = {state, count: operations.length};
  } catch (error) {
    outcome = {error: String(error.message), name: error.name, at: traces.get(error)[0]};
  }
}
"""

ADAPTOR = {"fn", "set", "each", "fail", "tag", "http"}


@dataclass
class Ran:
    """What came of a job: its state, its operations, or the error and where the engine saw it."""

    state: Any = None
    count: int = 0
    error: str = ""
    name: str = ""
    at: tuple[int, int] = (0, 0)


def run(source: str | CompiledJob, **state: Any) -> Ran:
    """Compile a job, run it as the run's process does, and say what came of it."""
    job = compile_job(source) if isinstance(source, str) else source
    context = _quickjs.Context()
    context.eval(HARNESS)
    names = ", ".join(sorted(ADAPTOR & set(job.free)))
    head = f'(async function ($worker) {{"use strict"; const {{{names}}} = adaptor;\n'
    context.eval(f"void run({head}{job.body}\n}}), {json.dumps(state)})")
    while context.execute_pending_job():
        pass
    outcome = json.loads(context.eval("JSON.stringify(outcome ?? {error: 'never ended'})"))
    return Ran(**outcome)


def body(source: str) -> str:
    return compile_job(source).body


# --- operations -------------------------------------------------------------------------------


def test_top_level_calls_become_operations_in_order() -> None:
    ran = run("set('a', 1);\nset('b', 2)\nfn(s => ({...s, c: s.a + s.b}));")
    assert (ran.state, ran.count) == ({"a": 1, "b": 2, "c": 3}, 3)


@pytest.mark.parametrize(
    "source",
    ["fn(x)", "(fn(x))", "http.get(x);", "fn(x)(y)", "a[0](x)", "new X().y()", "'a'.b()"],
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
        "console.log(1);",
        "Object.freeze(x);",
        "setTimeout(f, 1);",
        "Promise.all([f()]).then(g);",
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
    assert run(source, a=1) == Ran(state={"a": 1})


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
        "Promise.resolve(1).then(g);",
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
        "const {a} = $worker.import('x'); $worker.import('y'); const n = $worker.import('y');"
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


def test_free_calls_are_the_free_names_that_are_called() -> None:
    job = compile_job("fn(a, b.c(), new D(), e?.(), t`x`); function f() {} f(); g")
    assert job.free_calls == ("e", "fn", "t")


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
    assert run(source, a=1) == Ran(state={"a": 1})


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


def test_the_check_of_a_doubtful_source_never_runs_it() -> None:
    with pytest.raises(PlanError, match="Unexpected token"):
        compile_job("while (true) {}; <a/>")


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


@pytest.mark.parametrize("link", [".then(f)", ".a", "()", "[0]", "+1", "?.a", "`x`"])
def test_a_long_chain_compiles(link: str) -> None:
    job = compile_job("op()" + link * 20_000)
    assert job.body.count("defer") == (20_000 if link == ".then(f)" else 0)


def test_a_source_over_the_limit_is_refused() -> None:
    with pytest.raises(PlanError, match=r"1,000,006 bytes, expected at most 1,000,000") as caught:
        compile_job("'" + "x" * 1_000_004 + "'")
    assert caught.value.type == "SyntaxError"


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


# --- sites ------------------------------------------------------------------------------------

SETTING = (
    "let u, k = 'zz', f, z, x, h = () => 1, d = {p: {q: 1}}, é = {},"
    " o = {g() { return {k: {}} }, a: {b: {}}, k: 1, h() {}};\n"
)


def site_of(source: str) -> str | None:
    """The text at the place that the engine reports for the error that a source throws."""
    job = compile_job(SETTING + source)
    ran = run(job)
    assert ran.name == "TypeError", ran
    return job.sites.get(f"{ran.at[0]}:{ran.at[1]}")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("0, f();", "f"),
        ("0, f(1, 2);", "f"),
        ("x = f(d.p, d.p.q);", "f"),
        ("0, f\n (\n  1);", "f"),
        ("0, f(1,\n  2\n);", "f"),
        ("0, f(() => { d.p; h(1) });", "f"),
        ("0, f(...[d.p]);", "f"),
        ("0, f(u + 1);", "f"),
        ("0, f(undefined);", "f"),
        ("0, f(...[1], u);", "f"),
        ("0, (f)(1);", "f"),
        ("0, o.foo();", "o.foo"),
        ("0, o.a.b.c?.d, o.a.b.c2();", "o.a.b.c2"),
        ("0, o\n  .g()\n  .foo(1)\n  .bar();", "o.g(...).foo"),
        ("0, o.g(1).k.x(2);", "o.g(...).k.x"),
        ("0, o['foo']();", "o.foo"),
        ("0, o['a b'](1);", "o.a b"),
        ("0, o[k]();", "o[k]"),
        ("0, o[0]();", "o[0]"),
        ("0, o?.foo();", "o?.foo"),
        ("0, o.a.b?.c();", "o.a.b?.c"),
        ("0, o.k?.();", "o.k"),
        ("new f();", "f"),
        ("new f;", "f"),
        ("new o.foo(d.p);", "o.foo"),
        ("0, f`x${u}`;", "f"),
        ("0, o.foo`x`;", "o.foo"),
        ("0, 's'.foo();", '"s".foo'),
        ("0, [1].foo();", "[1].foo"),
        ("0, ({}).foo();", "(intermediate value).foo"),
        ("0, new Date().foo();", "(intermediate value).foo"),
        ("0, (await h()).foo();", "(intermediate value).foo"),
        ("0, é.x(1);", "é.x"),
        ("'é😀'; 0, o.foo(1);", "o.foo"),
        ("0, JSON.stringify(f(u));", "f"),
        ("[...u];", "u"),
        ("0, Math.max(...o.foo);", "o.foo"),
        ("for (const q of o.k) {}", "o.k"),
        ("for (\n  const q\n  of u\n) {}", "u"),
        ("x = u;\nconst [q] = o.k;", "o.k"),
        ("x = u; [z] = o.k;", "o.k"),
        ("await (async () => { for await (const q of u) {} })();", "u"),
        ("(function* () { yield* o.k })().next();", "o.k"),
        ("await (async function () { return o.foo(1) })();", "o.foo"),
        ("(() => o.foo(1))();", "o.foo"),
        ("class A { x = o.foo(1) }; new A();", "o.foo"),
        ("class A { static { o.foo(u) } }", "o.foo"),
        ("if (u) { h(1) } else { o.foo(2) }", "o.foo"),
        ("try { h() } finally { o.foo() }", "o.foo"),
        ("throw o.foo();", "o.foo"),
        ("x = {a: 1, b: o.foo()};", "o.foo"),
        ("x = `a${o.foo(u)}`;", "o.foo"),
        ("0, /* c */ f(/* d */ 1);", "f"),
        ("0, f( // c\n 1);", "f"),
        ("fn(s => s.foo(1));", "s.foo"),
        ("set('a', $.foo(1));", "$.foo"),
        ("fn(s => s).then(s => s.foo());", "s.foo"),
        ("fn(s => s)\n  .then(s => 1)\n  .then(s => s.foo($.x));", "s.foo"),
        ("fn(s => s.foo({a: h($.x), c: u, d: $.y}));", "s.foo"),
    ],
)
def test_the_engine_reports_an_error_where_its_site_is(source: str, text: str) -> None:
    assert site_of(source) == text


@pytest.mark.parametrize("source", ["0, f(h(1));", "0, o.foo(d.p, h(1));"])
def test_calls_that_the_engine_reports_at_one_place_are_all_named(source: str) -> None:
    text = site_of(source)
    assert text is not None
    assert " or h" in text or "h or " in text


def test_a_spread_that_shares_its_place_with_a_call_has_a_key_of_its_own() -> None:
    job = compile_job(SETTING + "0, h(...o.foo);")
    line, column = run(job).at
    assert job.sites[f"{line}:{column}"] == "h"
    assert job.sites[f"{line}:{column}:iterated"] == "o.foo"


def test_iterating_what_a_call_returned_names_the_call() -> None:
    assert site_of("for (const q of JSON.parse('1')) {}") == (
        "JSON.parse is not a function or its return value"
    )


def test_the_text_of_a_site_is_short() -> None:
    texts = compile_job("x." + "y" * 100 + "();" + "a" + ".b()" * 50).sites.values()
    assert texts
    assert max(map(len, texts)) <= 60


# --- positions --------------------------------------------------------------------------------


def test_an_error_in_an_operation_is_traced_to_the_authors_column() -> None:
    source = "import d from 'x'; set('é', $.a.b.c);\nfn(s => s.x())"
    job = compile_job(source)
    line, column = run(job, a={"b": {}}).at
    assert job.origin(line, column) == (2, 11)


PIECES = st.sampled_from(
    [
        "@($.@.@)",
        "@('é😀', {id: $.@, n: [$.@, @]}).then(@).catch(@)",
        "each('$.x', @('名', $.@)\n  .then(@ => @)\n  .catch(@)).then(@)",
        "fn(state => $.@ + @)",
        "import {IMPORTED,\n b as IMPORTED} from 'm'",
        "import IMPORTED, * as IMPORTED from \"n\" with {type: 'json'}",
        "export const @ = @",
        "export function @() {}",
        "fn(await import(@), import.meta.@, @)",
        "fn(await (@)(@))",
        "console.log('😀', @)",
        "const @ = {名: @} /* 😀 */",
        "(@(@))",
        "`multi\nline ${@(@)}`",
    ]
)
NAME = re.compile("@|IMPORTED")


@given(
    st.lists(PIECES, max_size=8), st.sampled_from(["; ", ";\n", ";\n\n  ", ";\r\n", " ; /*é*/ "])
)
def test_every_name_of_the_source_is_found_again_from_its_place_in_the_body(
    pieces: list[str], separator: str
) -> None:
    numbers = itertools.count()
    source = NAME.sub(
        lambda name: f"{'i' if name[0] != '@' else ''}v{next(numbers)}_", separator.join(pieces)
    )
    job = compile_job(source)
    assert job.body.count("\n") == source.count("\n")
    for name in re.findall(r"\bv\d+_", source):
        place = job.origin(*_place(job.body, job.body.index(name)))
        assert place == _place(source, source.index(name))


RANGES = st.lists(st.integers(0, 30), min_size=2, max_size=12, unique=True).map(sorted)


@given(st.text(string.ascii_letters + "é😀\n", min_size=31, max_size=40), RANGES, st.data())
def test_characters_that_no_edit_touches_map_back_to_themselves(
    source: str, cuts: list[int], data: st.DataObject
) -> None:
    offsets = [len(source[:cut].encode()) for cut in cuts]
    edits, touched = Edits(source.encode()), set()
    for cut, start, end in zip(cuts[::2], offsets[::2], offsets[1::2], strict=False):
        if data.draw(st.booleans()):
            edits.replace(start, end, data.draw(st.sampled_from([b"", b"state", b"<>"])))
            touched |= set(range(cut, cuts[cuts.index(cut) + 1]))
        else:
            edits.wrap(start, end, b"op(() => ", b")")
    edited = edits.apply()
    job = CompiledJob(body=edited.body.decode(), positions=edited.positions())
    assert job.body.count("\n") == source.count("\n")
    for index in set(range(len(source))) - touched:
        at = len(edited.body[: edited.moved(len(source[:index].encode()))].decode())
        assert job.body[at] == source[index]
        assert job.origin(*_place(job.body, at)) == _place(source, index)


def _place(text: str, offset: int) -> tuple[int, int]:
    line_start = text.rfind("\n", 0, offset) + 1
    return text.count("\n", 0, offset) + 1, offset - line_start + 1


# --- what people write ------------------------------------------------------------------------

CASES = Path(__file__).parents[1] / "data" / "conformance.jsonl"


def sources() -> list[tuple[str, bool]]:
    """Every job of the conformance cases, and whether its syntax is right."""
    found: dict[str, bool] = {}
    for line in CASES.read_text("utf-8").splitlines():
        case = json.loads(line)
        wrong = case["id"].startswith("syntax-error")
        for step in case["plan"]["workflow"]["steps"]:
            source = step.get("expression")
            if source:
                found[source] = not (wrong and source.endswith("{"))
    return list(found.items())


@pytest.mark.parametrize(("source", "valid"), sources())
def test_the_conformance_jobs_compile_exactly_where_they_should(source: str, valid: bool) -> None:
    if not valid:
        with pytest.raises(PlanError, match=r"Unexpected end of input \(1:\d+\)"):
            compile_job(source)
        return
    context = _quickjs.Context()
    context.eval(f"(async function ($worker) {{'use strict';\n{body(source)}\n}})")
