"""Log lines of jobs: the text of each kind of value, and that a log call never fails a step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import worker
from tests.support.helpers import job, logs, run_job, workflow
from tests.support.inspected import EXPRESSIONS, RECORDED, texts_here, texts_in_node
from worker.core.events import RunLog


def recorded() -> list[list[str]]:
    return [json.loads(line) for line in RECORDED.read_text("utf-8").splitlines()]


def test_values_are_written_as_nodes_inspect_writes_them() -> None:
    expected = recorded()
    assert tuple(expression for expression, _ in expected) == EXPRESSIONS
    here = [list(pair) for pair in zip(EXPRESSIONS, texts_here(), strict=True)]
    assert [pair for pair in here if pair not in expected] == []


@pytest.mark.npm
def test_the_recorded_texts_are_those_of_node(tmp_path: Path) -> None:
    assert texts_in_node(tmp_path) == [text for _, text in recorded()]


def test_an_error_inside_an_object_is_written_with_its_place_code_and_response() -> None:
    source = "fn(state => {\n  const error = Object.assign(new Error('no'), { code: 'E1', response: { status: 500 } });\n  console.log('failed', { error });\n  return state;\n});"
    [text] = logs(run_job(source))
    assert text.startswith("failed {\n  error: Error: no\n      at ")
    assert text.endswith("{\n    code: 'E1',\n    response: { status: 500 }\n  }\n}")


@pytest.mark.parametrize(
    "value",
    [
        "Object.create(new Proxy({}, { getPrototypeOf() { throw 1; }, getOwnPropertyDescriptor() { throw 1; } }))",
        "Object.defineProperty(new Error('e'), 'stack', { get() { throw 1; } })",
        "Object.defineProperty(new Error('e'), 'message', { get() { throw 1; } })",
        "Object.assign(new Error(), { name: Symbol('n') })",
        "Object.defineProperty(() => {}, 'name', { get() { throw 1; } })",
        "new (class { get [Symbol.toStringTag]() { throw 1; } })()",
        "new (class { static get name() { throw 1; } })()",
        "Object.defineProperty([], 'constructor', { get() { throw 1; } })",
        "Proxy.revocable({}, {}).proxy",
        "(() => { const { proxy, revoke } = Proxy.revocable([], {}); revoke(); return proxy; })()",
        "(() => { let v = []; for (let i = 0; i < 20000; i++) v = [v]; return v; })()",
        pytest.param("Array.from({ length: 100000 }, (_, at) => ({ at }))", marks=pytest.mark.slow),
        "globalThis",
        "(function* () { yield 1; })()",
        "Promise.reject(new Error('handled')).catch(() => {}) && new Map().entries()",
        "new DataView(new ArrayBuffer(2))",
    ],
)
def test_no_value_fails_the_step_that_logs_it(value: str) -> None:
    result = run_job(f"fn(state => {{ console.log({value}, 'after'); return state; }});")
    assert result.status == "success", result.error
    [text] = logs(result)
    assert text


def test_a_proxy_is_a_proxy_still() -> None:
    source = "fn(() => ({ name: Proxy.name, length: Proxy.length, own: 'prototype' in Proxy, got: new Proxy({}, { get: () => 5 }).x, revoked: (() => { const { proxy, revoke } = Proxy.revocable({}, {}); revoke(); try { return proxy.x; } catch (e) { return e.name; } })(), called: (() => { try { Proxy({}, {}); } catch (e) { return e.name; } })() }));"
    assert run_job(source).final_state == {
        "name": "Proxy",
        "length": 2,
        "own": False,
        "got": 5,
        "revoked": "TypeError",
        "called": "TypeError",
    }


def test_lines_of_a_condition_are_those_of_an_adaptor() -> None:
    condition = "console.warn('from a condition', Object.isFrozen(console)) || true"
    steps = [job("fn(s => s)", "a", next={"b": {"condition": condition}}), job("fn(s => s)", "b")]
    result = worker.run(workflow(*steps))
    lines = [(e.source, e.level, e.message) for e in result.events if isinstance(e, RunLog)]
    assert ("ADA", "warn", "from a condition true") in lines
