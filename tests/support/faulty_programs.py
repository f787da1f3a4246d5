"""Faulty programs: bodies of an async arrow function of ``state`` that fail, by kind.

``NODE`` prints what Node makes of each: class, message, line and column of the error.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

STATE = {"data": {"items": [1, 2, 3], "name": "Ama", "n": 5, "none": None}}

# What is broken, and where it stands: `@` is the faulty expression.
_PLACES = (
    "@;",
    "const x = 1;\nconst y = @;",
    "if (state.data.n > 1) {\n  state.out = [1, @];\n}",
    "const run = (a) => {\n  return @;\n};\nrun(1);",
    "state.data.items.map((item) =>\n  @\n);",
    "await null;\nstate.out = { k: 'é', v: @ };",
)
_EXPRESSIONS = {
    "read": (
        "state.nope.x", "state.data.none.x", "state.nope['x']", "state.data.items[9].id",
        "state.data.none[state.data.n]", "state.nope.deep.x.y", "state.data.name.first.second",
    ),
    "call": (
        "state.nope()", "state.data.name()", "state.data.items.nope(1, 2)", "state.data.none()",
        "state.data.items[0](1)", "(state.data.n)(2)", "state.data.name.trim()()", "state.nope.f(1)",
        "JSON.nope('{}')", "Math.max(state.nope())", "state.data.items.map(state.nope.f)",
    ),
    "callback": (
        "state.data.items.map(undefined)", "state.data.items.filter()", "[2, 1].sort(3)",
        "state.data.items.forEach('x')", "[1].reduce(null)", "state.data.items.find({})",
        "new Promise(5)", "'ab'.replaceAll(/b/, '')", "[].reduce((a, b) => a)",
        "state.data.items.flatMap(null)", "state.data.items.some(1)", "state.data.items.every(state)",
    ),
    "new": (
        "new state.nope()", "new (() => 1)()", "new state.data.n()", "new Math.max(1)",
        "new state.data.items.map()", "new Symbol()", "new JSON()",
    ),
    "in": ("'x' in state.nope", "'x' in 'text'", "1 in state.data.none", "'k' in 5", "'a' in true"),
    "instanceof": ("state instanceof 5", "state instanceof state.nope", "state instanceof {}", "state instanceof (() => 1)"),
    "iterate": (
        "[...state.nope]", "[...5]", "Math.max(...state.nope)", "new Set(5)", "new Map([1])",
        "Object.fromEntries(5)", "Array.from(null)", "Promise.all.call(1)", "new Map(state.data.n)",
        "Object.fromEntries([1])", "[...state.data.name, ...state.data.n]",
    ),
    "assign": (
        "(state.nope.x = 1)", "(state.data.none.a.b = 1)", "(state.nope[0] = 1)", "(null).x",
        "Object.freeze({ a: 1 }).a = 2", "(Object.freeze([1])[0] = 2)", "Object.freeze([1]).push(2)",
        "delete Object.freeze({ a: 1 }).a", "('abc'.length = 1)", "('abc'[0] = 'x')", "(state.nope.x += 1)",
    ),
    "name": ("undeclared", "undeclared.x", "undeclared()", "(undeclared = 1)", "undeclared.a.b", "`${undeclared}`", "typeof undeclared.x"),
    "range": (
        "new Array(-1)", "'x'.repeat(-1)", "(1).toFixed(101)", "(5).toString(99)", "new Date(NaN).toISOString()",
        "(1).toPrecision(0)", "'ab'.normalize('x')", "String.fromCodePoint(-1)", "BigInt(1.5)", "'x'.repeat(Infinity)", "(1).toExponential(-1)",
    ),
    "convert": (
        "Symbol('s') + ''", "+Symbol('s')", "BigInt('x')", "1n + 1", "`${Symbol('s')}`", "JSON.stringify(1n)",
        "JSON.parse('{')", "JSON.parse('')", "JSON.parse('{a}')", "JSON.parse(undefined)", "decodeURIComponent('%')",
        "Object.defineProperty(1, 'x', {})", "Object.create(5)", "Object.setPrototypeOf({}, 1)", "Reflect.ownKeys(1)",
        "Object.keys(null)", "Object.entries(undefined)", "Object.assign(null)", "new WeakMap().set(1, 2)",
        "'abc'.localeCompare.call(null)", "Number.prototype.toFixed.call('x')", "new RegExp('[')", "BigInt(undefined)",
        "Object.defineProperty({}, 'x', 5)", "Object.fromEntries()", "structuredCloned(state)",
        "[].at.call(null)", "String.prototype.trim.call(undefined)", "'x'.startsWith(/x/)", "'x'.matchAll(/x/)",
        "JSON.parse('[1,]')", "JSON.parse('nope')", "JSON.parse('{\"a\":1,}')",
    ),
    "throw": ("(() => { throw new Error('mine'); })()", "(() => { throw new TypeError('t'); })()", "Promise.reject(new Error('r'))", "(() => { throw Object.assign(new Error('a'), { code: 1 }); })()"),
}  # fmt: skip
_STATEMENTS = {
    "destructure": (
        "const { x } = state.nope;", "const { x } = null;", "const { x, y } = state.data.none;", "const { } = state.nope;",
        "const { x: { y } } = state.data;", "const { items: { z: { w } } } = state.data;", "const { ...rest } = state.nope;",
        "const { [state.data.name]: v } = state.nope;", "let a;\n({ a } = state.nope);", "const { a = 1 } = undefined;",
        "const f = ({ a }) => a;\nf();", "const f = ({ a }) => a;\nf(null);", "function g({ a: { b } }) { return b; }\ng({});",
        "state.data.items.map(({ id: { v } }) => v);", "[null].map(({ k }) => k);", "for (const { k } of [null]) { k; }",
        "for (const { k } of state.nope) { k; }", "const [a] = state.nope;", "const [a] = state.data.none;", "const [a] = 5;",
        "const [a, b] = {};", "let a;\n[a] = state.nope;", "const [a] = state.data;", "const f = ([a]) => a;\nf(1);",
        "[1].map(([k, v]) => k);", "state.data.items.map(([k]) => k);", "for (const [k, v] of [1]) { k; }",
        "for (const [k, v] of Object.entries(null)) { k; }", "const [[a]] = [1];", "const { items: [[q]] } = state.data;",
        "const [{ z }] = [];", "const { a } = await null;", "const { x } = state.data.items.find((i) => i > 9);",
        "const [p] = state.data.items.filter;", "try { throw null; } catch ({ message }) { message; }", "const { data: { none: { k } } } = state;",
        "const f = (s, { a }) => a;\nf(1);", "const {\n  x,\n} = state.nope;", "const [\n  x,\n] = state.nope;",
        "async function h({ a }) { return a; }\nawait h();", "const f = ([a] = 5) => a;\nf();", "for (const { a: { b } } of [{}]) { b; }",
    ),
    "iterate": (
        "for (const x of state.nope) { x; }", "for (const x of 5) { x; }", "for (const x of state.data) { x; }",
        "for (const x of state.data.none) { x; }", "for (const x of {}) { x; }", "for await (const x of 5) { x; }",
        "for (const x of Object.keys(undefined)) { x; }", "function* g() { yield* 5; }\n[...g()];", "new Set(state.data.n);",
    ),
    "constant": (
        "const z = 1;\nz = 2;", "const z = 1;\nz += 2;", "const z = 1;\nz++;", "const z = [];\n[z] = [1];", "const z = 1;\n({ z } = { z: 2 });",
        "for (const i = 0; i < 2; i++) { i; }", "const z = 1;\nconst f = () => {\n  z = 3;\n};\nf();", "const z = 1;\n--z;", "const z = null;\nz ??= 2;",
        "const z = 1;\nfor (z of [1]) { z; }",
    ),
    "early": (
        "q;\nconst q = 1;", "q = 1;\nlet q;", "new C();\nclass C {}", "const f = () => late;\nf();\nconst late = 1;", "const w = w + 1;",
        "typeof q;\nlet q;",
    ),
    "class": (
        "class A { constructor() { this.x.y; } }\nnew A();", "class A {}\nA();", "class B extends Object { constructor() { this.x = 1; } }\nnew B();",
        "class A extends state.nope {}", "class A { get v() { return this.q.r; } }\nnew A().v;", "class A { #p; read(o) { return o.#p; } }\nnew A().read({});",
        "class A extends 5 {}", "class A { static f() { return this.none.x; } }\nA.f();", "const o = { get v() { return state.nope.x; } };\no.v;",
        "const o = { get v() { return 1; } };\no.v = 2;", "class A { x = state.nope.y; }\nnew A();", "const o = { run: () => state.nope.x };\no.run();",
    ),
    "promise": (
        "await Promise.any([]);", "await Promise.any([Promise.reject(1)]);", "await Promise.all(5);", "await Promise.reject(new TypeError('no'));",
        "await Promise.race();", "await (async () => { await null; return state.nope.x; })();", "await new Promise((ok) => ok.nope.x);",
        "await Promise.resolve().then(() => state.nope.x);", "await Promise.all([1, 2].map(async (v) => v.a.b));", "await Promise.allSettled(null);",
    ),
    "stack": ("const f = (n) => f(n + 1) + 1;\nf(0);", "function again() { again(); }\nagain();"),
}  # fmt: skip


def programs() -> list[dict[str, str]]:
    """Return the programs in a fixed order, each with its kind."""
    found: list[dict[str, str]] = []
    for kind, expressions in _EXPRESSIONS.items():
        for number, expression in enumerate(expressions):
            place = _PLACES[(number + len(kind)) % len(_PLACES)]
            found.append({"kind": kind, "body": place.replace("@", expression)})
    for kind, statements in _STATEMENTS.items():
        found += [{"kind": kind, "body": statement} for statement in statements]
    return found


NODE = """
const vm = require('vm');
const { programs, state } = JSON.parse(require('fs').readFileSync(0, 'utf8'));
Error.stackTraceLimit = 50;
process.on('unhandledRejection', () => {});
(async () => {
  const results = [];
  for (const body of programs) {
    const context = vm.createContext({});
    const source = `(async (state) => {"use strict";\\n${body}\\n})`;
    let error;
    try {
      const run = new vm.Script(source, { filename: 'job.js' }).runInContext(context);
      await run(vm.runInContext(`(${JSON.stringify(state)})`, context));
      error = null;
    } catch (thrown) {
      error = thrown;
    }
    const place = /job\\.js:(\\d+):(\\d+)/.exec(String(error && error.stack).split('\\n').slice(1).filter((line) => /^ +at /.test(line)).join('\\n'));
    results.push(error === null ? null : {
      name: error.constructor ? error.constructor.name : typeof error,
      message: error.message,
      line: place ? Number(place[1]) - 1 : null,
      column: place ? Number(place[2]) : null,
    });
  }
  process.stdout.write(JSON.stringify(results));
})();
"""


def errors_in_node(bodies: list[str]) -> list[Any]:
    """Run the programs in Node; return name, message, line and column of each error."""
    text = json.dumps({"programs": bodies, "state": STATE})
    done = subprocess.run(
        ["node", "-e", NODE], input=text, capture_output=True, text=True, check=True
    )
    results: list[Any] = json.loads(done.stdout)
    return results


EXPECTED = Path(__file__).parents[1] / "data" / "faulty_programs.jsonl"


if __name__ == "__main__":
    cases = programs()
    errors = errors_in_node([case["body"] for case in cases])
    lines = [
        json.dumps({**case, "error": error}, ensure_ascii=False)
        for case, error in zip(cases, errors, strict=True)
        if error is not None
    ]
    EXPECTED.write_text("\n".join(lines) + "\n", "utf-8")
