"""What a job can name: its state, the workflow's global functions, and nothing that OpenFn lacks."""

from __future__ import annotations

from typing import Any

import pytest

import worker
from tests.support.helpers import job, run_job, workflow
from worker.core.events import RunLog

INPUT = {"data": {"x": 1}}


@pytest.mark.parametrize(
    ("source", "final"),
    [
        ("const x = `${state.data.x}`; fn((s) => ({ x }));", {"x": "1"}),
        ("fn(() => ({ ...state, y: 1 }));", {"data": {"x": 1}, "y": 1}),
        ("state.url = 'u'; fn((s) => ({ url: s.url }));", {"url": "u"}),
        ("state = { data: 2 }; fn((s) => ({ s: s.data, n: state.data }));", {"s": {"x": 1}, "n": 2}),
        ("fn((state) => ({ own: state.data.x }));", {"own": 1}),
        ("const state = 5; fn(() => ({ state }));", {"state": 5}),
        ("globalThis.state.data.x = 3; fn((s) => ({ x: s.data.x, y: state.data.x }));", {"x": 3, "y": 3}),
        ("globalThis.y = 1; fn(() => ({ y, t: typeof z }));", {"y": 1, "t": "undefined"}),
        ("fn(() => ({ t: typeof URL, i: 'fetch' in globalThis }));", {"t": "undefined", "i": False}),
        ("export const execute = (...all) => () => ({ n: all.length }); fn((s) => s); fn((s) => s);", {"n": 2}),
        ("const all = [() => ({ ran: 1 })]; export { all as default };", {"ran": 1}),
        ("fn((s) => s)\r// a comment\rfn(() => ({ lines: 3 }))", {"lines": 3}),
        ("fnIf($.data.list.includes($.data.x), fn(() => ({ hit: 1 })));", {"hit": 1}),
        ("fn((s) => ({ ...s, f: (v) => ({ v }) }));\nfn($.f($.data.x));", {"v": 1}),
    ],
)  # fmt: skip
def test_a_job_runs_as_on_openfn(source: str, final: dict[str, Any]) -> None:
    data = {"x": 1, "list": [1]} if "list" in source else {"x": 1}
    result = run_job(source, {"data": data})
    assert result.status == "success", result.error
    assert result.final_state == final


@pytest.mark.parametrize(
    "name",
    ["URL", "URLSearchParams", "structuredClone", "btoa", "atob", "TextEncoder", "TextDecoder",
     "setImmediate", "queueMicrotask", "performance", "fetch", "process", "require", "module",
     "crypto", "AbortController"],
)  # fmt: skip
def test_a_name_that_crashes_on_openfn_crashes(name: str) -> None:
    result = run_job(f"fn(() => {name});")
    assert (result.error_type, result.error_message) == (
        "ReferenceError",
        f"{name} is not defined",
    )


def test_what_a_step_adds_to_its_global_object_is_gone_in_the_next() -> None:
    steps = (
        job("fn((s) => { globalThis.x = 1; return s; });", "a", next={"b": True}),
        job("fn(() => ({ x: typeof globalThis.x }));", "b"),
    )
    assert worker.run(workflow(*steps), {}).final_state == {"x": "undefined"}


def with_globals(globals: str, source: str) -> worker.Result:
    plan = {"workflow": {"globals": globals, "steps": [job(source, "a", name="A")]}}
    return worker.run(worker.load(plan), INPUT)


@pytest.mark.parametrize(
    ("source", "final"),
    [
        ("fn((s) => ({ v: up('q'), k: K, d: typeof globalThis.default }));", {"v": "Q", "k": 5, "d": "function"}),
        ("const up = () => 'own'; fn(() => ({ v: up() }));", {"v": "own"}),
        ("fn(() => ({ v: globalThis.K }));", {"v": 5}),
        ("fn(() => { try { list.push(1) } catch (e) { return { e: e.name } } });", {"e": "TypeError"}),
    ],
)  # fmt: skip
def test_jobs_can_name_what_the_workflow_exports(source: str, final: dict[str, Any]) -> None:
    module = (
        "export const up = (t) => t.toUpperCase();\nexport const K = 5, list = [];\n"
        "export default function named() {}"
    )
    result = with_globals(module, source)
    assert result.final_state == final, result.error


@pytest.mark.parametrize(
    ("module", "error"),
    [
        ("const = 1", ("SyntaxError", "[globals] Unexpected token '='")),
        ("nope()", ("ReferenceError", "[globals] nope is not defined")),
        ("import { fn } from '@openfn/language-common'", ("ImportError", '[globals] Failed to import module "@openfn/language-common"')),
    ],
)  # fmt: skip
def test_an_error_of_the_module_crashes_the_first_step(module: str, error: tuple[str, str]) -> None:
    result = with_globals(module, "fn((s) => s);")
    assert result.error_type == error[0]
    assert result.error_message is not None and result.error_message.startswith(error[1])
    assert [entry.step for entry in result.path] == ["a"]


def test_an_error_of_a_global_function_has_no_place() -> None:
    module = "export const check = (x) => {\n  throw new Error('bad');\n};"
    result = with_globals(module, "fn((s) => check(s.data));")
    assert result.final_state["errors"]["a"] == {
        "source": "runtime",
        "name": "AdaptorError",
        "severity": "fail",
        "message": "bad",
        "details": {"message": "bad"},
        "pos": {"line": None, "column": None},
        "step": "A",
    }


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import { jam } from '@openfn/language-common';\nfn((s) => s);", ("SyntaxError", 1)),
        ("fn((s) => s);\nimport x from 'left-pad';", ("ImportError", 2)),
        ("fn((s) => {\n  await s.x;\n});", ("SyntaxError", 2)),
    ],
)
def test_an_error_before_the_first_operation_names_its_line(
    source: str, error: tuple[str, int | None]
) -> None:
    result = run_job(source)
    assert result.error is not None
    line = result.error.position.line if result.error.position else None
    assert (result.error_type, line) == error


def entry(source: str, **fields: Any) -> Any:
    plan = workflow(job(source, "a", **fields))
    return worker.run(plan, INPUT).final_state["errors"]["a"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("fn(() => { throw Object.assign(new TypeError('t'), { code: 1 }) })", ("RuntimeError", "TypeError: t")),
        ("class Bad extends TypeError {}\nfn(() => { throw new Bad('b') })", ("JobError", "b")),
        ("class ColumnTypeError extends Error {}\nfn(() => { throw new ColumnTypeError('c') })", ("RuntimeError", "ColumnTypeError: c")),
        ("fn(() => { throw { message: 5 } })", ("JobError", 5)),
        ("fn(() => { throw [1] })", ("JobError", "")),
        ("fn(() => { throw undefined })", ("RuntimeError", "TypeError: Cannot read properties of undefined (reading 'stack')")),
        ("const o = { run: () => { throw new Error('m') } };\nfn(() => o.run())", ("AdaptorError", "m")),
        ("const op = (n) => (s) => { throw new Error('n' + n) };\nfn(op(1))", ("JobError", "n1")),
        ("fn((s) => { s.f = () => { throw new Error('f') }; s.f() })", ("AdaptorError", "f")),
        ("fnIf(() => { throw new Error('i') }, (s) => ({ ...s }))", ("AdaptorError", "i")),
        ("fnIf(true, () => { throw new Error('t') }, { a: 1 })", ("AdaptorError", "t")),
        ("const h = () => { throw Object.assign(new Error('x'), { message: [5] }) };\nfn(() => h())", ("AdaptorError", [5])),
        ("fn(() => Promise.reject(new URIError('u')))", ("JobError", "u")),
    ],
)  # fmt: skip
def test_the_innermost_function_decides_what_an_entry_shows(
    source: str, expected: tuple[str, Any]
) -> None:
    found = entry(source)
    assert (found["name"], found["message"]) == expected


def test_an_operation_that_fails_by_itself_is_named_with_its_line() -> None:
    shown = entry("fn((s) => s);\n\neach($.data.none.x, fn((s) => s));", name="Each")
    assert (shown["name"], shown.get("line")) in (("AdaptorError", 3), ("RuntimeError", None))
    named = entry("fn((s) => s);\n\nfn(function second() { throw new Error('x'); });", name="N")
    assert (named["line"], named["operationName"]) == (3, "fn")
    assert "pos" not in named and "step" not in named


def test_an_output_over_the_payload_limit_is_redacted_only_on_request() -> None:
    size = 11 * 1024 * 1024
    steps = (
        job(f"fn(() => ({{ data: 'x'.repeat({size}), kept: 1 }}));", "a", next={"b": True}),
        job("fn((s) => ({ size: s.data.length, kept: s.kept }));", "b"),
    )
    result = worker.run(workflow(*steps), {})
    assert result.final_state == {"size": size, "kept": 1}
    assert any("[REDACTED]" in getattr(event, "message", "") for event in result.events)
    openfn = worker.run(workflow(*steps, payload="openfn"), {})
    assert openfn.final_state == {"size": len("[REDACTED]"), "kept": 1}


def test_a_failed_step_shows_its_redacted_dataclip_on_request() -> None:
    source = """fn((s) => {
      s.data = 'x'.repeat(11 * 1024 * 1024);
      s.other = 1;
      throw new Error('no');
    });"""
    step = job(source, "a", next={"b": "on_job_failure"})
    steps = (step, job("fn((s) => ({ size: s.data.length }));", "b"))
    redacted = worker.run(workflow(*steps, payload="openfn"), {})
    output = redacted.step("a").output
    assert (output["data"], output["other"]) == ("[REDACTED]", 1)
    assert output["errors"]["a"]["message"] == "no"
    assert redacted.final_state == {"size": len("[REDACTED]")}
    assert worker.run(workflow(*steps), {}).step("a").output is None


def test_the_console_has_the_functions_that_it_has_on_openfn() -> None:
    result = run_job("fn((s) => { console.success('a'); console.always('b'); return s; });")
    assert result.status == "success"
    lines = [e.message for e in result.events if isinstance(e, RunLog) and e.source == "JOB"]
    assert lines == ["a", "b"]
