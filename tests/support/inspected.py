"""Values that jobs log, as JavaScript expressions, and their texts in Node."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.support.helpers import logs, run_job

RECORDED = Path(__file__).parents[1] / "data" / "inspected.jsonl"

EXPRESSIONS = tuple(
    line.strip()
    for line in r"""
    1.5
    -0
    NaN
    [NaN, Infinity, -Infinity, -0, 10n]
    [undefined, null, true]
    { a: NaN, b: [Infinity], c: undefined, d: null }
    { 'a-b': 1, c_d: 2, 3: 'x', __proto__: null }
    ['it\'s', 'say "it\'s"', 'all of \' " `', 'line\nbreak\ttab', '\x1b[0m\x7f\x9f', 'caf\u00e9', '\ud83d', '\ud83d\ude00', 'back\\slash']
    'top\nlevel'
    /re+/gi
    { r: /a\/b/, d: new Date(0), bad: new Date(NaN) }
    new Map([['k', 1], [{ a: 1 }, new Map()]])
    new Set(['a', [1, 2], new Set()])
    { m: new Map([['k', new Set([1])]]), s: new Set() }
    new WeakMap()
    new WeakSet()
    { get a() { return 1; }, set b(v) {}, get c() { return 1; }, set c(v) {} }
    { get bad() { throw new Error('getter'); } }
    { toJSON() { throw new Error('toJSON'); }, a: 1 }
    new Proxy({ a: 1 }, { get() { throw new Error('get'); }, ownKeys() { throw new Error('keys'); }, getPrototypeOf() { throw new Error('prototype'); } })
    [new Proxy([1, 2], {}), new Proxy(new Proxy({ deep: true }, {}), {})]
    new Proxy(function named() {}, {})
    (() => { const c = { n: 1 }; c.self = c; c.list = [c, { c }]; return c; })()
    (() => { const a = []; a.push(a, new Map([[a, a]])); return a; })()
    (() => { const a = { n: 1 }; return [a, a]; })()
    [1, , 3, , , 6]
    Object.assign([1, 2], { extra: 'x' })
    new Array(3)
    []
    {}
    [[]]
    [{}]
    Object.create(null)
    Object.assign(Object.create(null), { a: 1 })
    { [Symbol('s')]: 1, [Symbol.iterator]: 2 }
    Symbol('s')
    [Symbol('s'), Symbol.for('x')]
    function named() {}
    () => {}
    [function named() {}, async () => {}, class {}, class A {}, function* g() {}, async function* ag() {}]
    class Base {}
    (() => { class A {} class B extends A {} return [B, new B(), Object.assign(new B(), { x: 1 })]; })()
    Object.assign(function f() {}, { a: 1 })
    new Uint8Array([1, 2, 3])
    [new Float64Array([0.5]), new Uint8Array()]
    Buffer.from('hi')
    { b: Buffer.alloc(0), c: Buffer.from('x'.repeat(60)) }
    new ArrayBuffer(3)
    [new Number(3), new String('ab'), new Boolean(false), Object(1n), Object(Symbol('s'))]
    (function () { return arguments; })(1, 'b')
    { [Symbol.toStringTag]: 'Tagged', a: 1 }
    (() => { class A { get [Symbol.iterator]() { return 1; } } return new A(); })()
    (() => { let v = 'end'; for (let i = 0; i < 30; i++) v = { v }; return v; })()
    { nested: { deeper: { deepest: { x: [[[['y']]]] } } } }
    Object.freeze({ a: 1 })
    Object.create({ inherited: 1 })
    (() => { class Money { constructor() { this.amount = 5; } } return { price: new Money() }; })()
    Math
    JSON
    (() => { const o = {}; Object.defineProperty(o, 'hidden', { value: 1 }); return o; })()
    { a: [{ b: new Map([[1, { c: 'd' }]]) }], e: 'f' }
    [undefined, function () {}, Symbol.iterator]
    new Map([[NaN, -0]])
    Object.assign(new Map([[1, 2]]), { extra: true })
    Object.assign(new Date(0), { extra: true })
    Object.create(Date.prototype)
    { error: (() => { const e = new Error('inner cause'); e.stack = 'Error: inner cause'; return e; })() }
    (() => { const e = new TypeError('bad', { cause: 'why' }); e.stack = e.name + ': ' + e.message; return e; })()
    (() => { const e = Object.assign(new Error('http'), { code: 'E404', response: { status: 404, body: { a: [1] } } }); e.stack = 'Error: http'; return { e }; })()
    (() => { class HttpError extends Error {} const e = new HttpError('x'); e.stack = 'Error: x'; return e; })()
    (() => { class HttpError extends Error { name = 'HttpError'; } const e = new HttpError('x'); e.stack = 'HttpError: x'; return [e]; })()
    (() => { const e = new Error('x'); e.stack = 'Error: x\n    at somewhere (file:1:2)'; return { list: [e], after: 1 }; })()
    (() => { const e = new Error('x'); e.stack = 'Error: x\n    at somewhere (file:1:2)'; e.code = 'C'; return e; })()
    (() => { const e = new AggregateError([1, 'two'], 'all'); e.stack = 'AggregateError: all'; return e; })()
    (() => { const e = new RangeError('own'); e.name = 'Custom'; e.stack = 'RangeError: own'; return e; })()
    """.splitlines()
    if line.strip()
)


def texts_here() -> list[str]:
    """Return the log lines of a job that logs each value."""
    calls = "\n".join(f"console.log({expression});" for expression in EXPRESSIONS)
    result = run_job(f"fn(state => {{\n{calls}\nreturn state; }});")
    assert result.status == "success", result.error
    return logs(result)


def texts_in_node(folder: Path) -> list[str]:
    """Return what Node's inspect makes of each value on one line."""
    options = "{ depth: Infinity, breakLength: Infinity, compact: 1000, maxArrayLength: null, maxStringLength: null }"
    values = ",\n".join(f"() => ({expression})" for expression in EXPRESSIONS)
    script = f"const {{ inspect }} = require('node:util');\nconst text = (value) => typeof value === 'string' ? value : inspect(value, {options});\nconsole.log(JSON.stringify([{values}].map((value) => text(value()))));"
    file = folder / "inspected.cjs"
    file.write_text(script, "utf-8")
    done = subprocess.run(["node", str(file)], capture_output=True, text=True, check=True)
    texts: list[str] = json.loads(done.stdout)
    return texts
