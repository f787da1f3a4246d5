"""Attacks by conditions of edges: by what they can name, by what they leave behind, and by what they
start. Each test says what is tried."""

from __future__ import annotations

from typing import Any

import pytest

import worker
from tests.support.helpers import job, logs, workflow
from worker.runner.result import Result

LOOK = """fn((state) => ({ data: {
  trace: Error.stackTraceLimit,
  names: Object.getOwnPropertyNames(globalThis).length,
  stray: [typeof leaked, typeof {}.leaked, typeof [].leaked, typeof (() => {}).leaked],
  language: [JSON.stringify([1]), [3, 1].sort().map(String).join(), Number('5'), String(Symbol.iterator),
             [...new Map([[1, 2]])].length, 'abc'.replace(/b/, 'x'), Math.max(1, 2), parseInt('7'),
             new Date(0).toISOString(), new TypeError('x') instanceof Error, Object.keys({ a: 1 }).length,
             Promise.resolve(1) instanceof Promise, Reflect.ownKeys({ a: 1 }).length],
} }));"""

CHANGES = [
    "Error.stackTraceLimit = 0",
    "Error.stackTraceLimit = { valueOf() { throw new Error('later') } }",
    "Error.prepareStackTrace = () => 'leaked'",
    "globalThis.leaked = 1",
    "Object.prototype.leaked = 1",
    "Array.prototype.leaked = 1",
    "Function.prototype.leaked = 1",
    "Object.prototype.__defineGetter__.call(globalThis, 'leaked', () => 1)",
    "Array.prototype.map = () => 1",
    "JSON.stringify = () => 'leaked'",
    "String.prototype.replace = () => 'leaked'",
    "Promise.prototype.then = () => { throw 1 }",
    "Reflect.ownKeys = () => []",
    "Number.prototype.toString = () => 'leaked'",
    "Date.prototype.toISOString = () => 'leaked'",
    "Map.prototype[Symbol.iterator] = function* () {}",
    "Object.getPrototypeOf(function* () {}).prototype.next = () => ({ done: true })",
    "Object.getPrototypeOf([].values().map((x) => x)).next = () => ({ done: true })",
    "Object.setPrototypeOf(globalThis, { leaked: 1 })",
    "Object.setPrototypeOf(Array.prototype, { leaked: 1 })",
    "Object.defineProperty(TypeError, Symbol.hasInstance, { value: () => false })",
    "console.log = () => {}",
    "delete globalThis.Number",
    "Symbol.iterator.constructor.prototype.leaked = 1",
    "(class { static { globalThis.leaked = 1 } })",
    "Object.freeze(state.data)",
    "Object.preventExtensions(globalThis)",
    "state.constructor.leaked = 1",
    "upstreamStepId.constructor.prototype.leaked = 1",
]


def along(*conditions: str, last: str = LOOK, **options: Any) -> Result:
    """Run steps in a row with these conditions on their edges."""
    steps = [
        job("fn((state) => state);", f"s{at}", next={f"s{at + 1}": {"condition": condition}})
        for at, condition in enumerate(conditions)
    ]
    flow = workflow(*steps, job(last, f"s{len(conditions)}"))
    return worker.run(flow, {"data": {"n": 1}}, **options)


def test_a_condition_changes_the_language_for_the_next_step() -> None:
    """Tries to leave anything behind that a later step could see."""
    attempts = [
        f"(() => {{ try {{ {change}; }} catch {{}} return true; }})()" for change in CHANGES
    ]
    expected = along("true").final_state
    result = along(*attempts)
    assert result.status == "success", result.error
    assert result.final_state == expected
    assert expected["data"]["trace"] == 10
    assert expected["data"]["stray"] == ["undefined"] * 4


HOST = ["setTimeout", "setInterval", "setImmediate", "clearTimeout", "queueMicrotask", "Buffer",
        "URL", "TextEncoder", "structuredClone", "performance", "fetch", "process", "require",
        "_", "lodash", "fn", "http", "configuration", "$worker"]  # fmt: skip


USES = ["({name}, true)", "{name}", "{name}.x", "{name}(() => true)", "[1].some(() => {name})"]


@pytest.mark.parametrize(
    "uses", [USES[0], *(pytest.param(uses, marks=pytest.mark.slow) for uses in USES[1:])]
)
def test_a_condition_names_what_only_jobs_have(uses: str) -> None:
    """Tries to reach timers, the web's interfaces, adaptors and Node from a condition."""
    for name in HOST:
        result = along(uses.format(name=name))
        assert (result.status, result.error_type) == ("crashed", "EdgeConditionError"), name
        assert f"ReferenceError: {name} is not defined" in (result.error_message or "")


def test_a_condition_reaches_a_timer_by_what_runs_after_it() -> None:
    """Tries it in a getter and in toJSON, which run where the state is written."""
    hidden = "setTimeout(() => console.log('leaked'), 0)"
    for change in (
        f"state.data = {{ toJSON() {{ try {{ {hidden} }} catch {{}} return 1; }} }}",
        f"Object.defineProperty(state, 'x', {{ enumerable: true, get() {{ try {{ {hidden} }} catch {{}} return 1; }} }})",
    ):
        last = "fn(() => new Promise((resolve) => setTimeout(() => resolve({ data: 1 }), 5)));"
        result = along(f"({change}, true)", last=last)
        assert result.status == "success" and logs(result) == []


@pytest.mark.parametrize(
    "condition",
    ["import('x')", "false && import('x')", "(async () => (await import('fs')).x)()", "(() => import('./a.js'))()"],
)  # fmt: skip
def test_a_condition_imports_a_module(condition: str) -> None:
    """Tries to load code, or to have the step after it crash."""
    result = along(condition)
    assert (result.status, result.error_type) == ("crashed", "EdgeConditionError"), result.error


@pytest.mark.parametrize(
    "condition",
    ["eval('1')", "Function('return 1')()", "(() => {}).constructor('return 1')()",
     "(() => { try { eval('1') } catch {} return true })()"],
)  # fmt: skip
def test_a_condition_makes_code_from_text(condition: str) -> None:
    """Tries it as jobs do; an attempt counts even where the condition catches the error."""
    result = along(condition)
    assert (result.status, result.error_type) == ("crashed", "EdgeConditionError"), result.error


LEFT_BEHIND = {
    "a rejection": "(Promise.reject(new Error('leaked')), true)",
    "an error in a promise": "(Promise.resolve().then(() => { throw new Error('leaked') }), true)",
    "a log line": "(Promise.resolve().then(() => console.log('leaked')), true)",
    "a loop without an end": "(() => { const f = () => Promise.resolve().then(f); f(); return true })()",
    "an asynchronous loop": "((async () => { for (;;) await null })(), true)",
    "an asynchronous generator": "((async function* () { for (;;) { await null; yield console.log('leaked'); } })().next(), true)",
    "a memory hog": "((async () => { const a = []; for (;;) { await null; a.push(new Array(1e5).fill(1)); } })(), true)",
    "an iteration": "(Array.fromAsync((async function* () { for (;;) yield 1 })()), true)",
}  # fmt: skip


def test_a_condition_starts_what_outlives_it() -> None:
    """Tries to run on in the next step, to end it by a rejection, and to use up its time."""
    result = along(*LEFT_BEHIND.values(), memory_mb=64)
    assert result.status == "success", result.error
    assert logs(result) == []


@pytest.mark.parametrize(
    "condition", ["Promise.resolve(false)", "() => false", "(async () => false)()", "(class {})", "new Promise(() => {})"]
)  # fmt: skip
def test_an_object_is_true(condition: str) -> None:
    """Not an attack: OpenFn follows the edge, and so does a run here; the linter reports it."""
    assert along(condition).status == "success"
