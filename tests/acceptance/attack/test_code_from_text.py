"""Attacks by code that a job makes from text. Each test says by what way."""

from __future__ import annotations

from pathlib import Path

import pytest

import worker
from tests.support.helpers import COMMON, job, logs, run_job, workflow
from tests.support.real_adaptors import KEPT, install, needs_npm
from worker.adaptors import cache

GENERATED = {
    "a template of the library": "_.template('<%= 6 * 7 %>')()",
    "a template by itself": "(({ template }) => template('<%= 6 * 7 %>'))(_)()",
    "a template in a chain": "_.chain('<%= 6 * 7 %>').template().value()()",
    "a template of a wrapped value": "_('<%= 6 * 7 %>').template()()",
    "a second library": "_.runInContext().template('<%= 6 * 7 %>')()",
    "a second library with another context": "_.runInContext({ Function: fn.constructor }).template('<%= 6 * 7 %>')()",
    "the source URL of a template": "_.template('x', { sourceURL: '\\u2028 console.log(42)' })()",
    "a function's constructor": "(() => {}).constructor('return 42')()",
    "that of an asynchronous function": "(async () => {}).constructor('console.log(42)')()",
    "that of a generator": "(function* () {}).constructor('yield 42')().next().value",
    "that of an asynchronous generator": "(async function* () {}).constructor('console.log(42)')().next()",
    "a constructor by a prototype": "Object.getPrototypeOf(Object.getPrototypeOf(async () => {})).constructor('return 42')()",
    "the constructor of a method": "[].map.constructor('return 42')()",
    "the constructor of an accessor": "Object.getOwnPropertyDescriptor(Map.prototype, 'size').get.constructor('return 42')()",
    "a subclass": "new (class extends Function {})('return 42')()",
    "a subclass of what a method is": "new (class extends [].map.constructor {})('return 42')()",
    "Reflect": "Reflect.construct(Function, ['return 42'], Object)()",
    "a bound constructor": "Function.bind(null, 'return 42')()()",
    "the species of a promise": "Promise.resolve.constructor.apply(null, ['return 42'])()",
    "a job's own array": "['return 42'].map(Function)[0]()",
    "eval": "eval('42')",
    "indirect eval": "(0, eval)('42')",
    "eval by another name": "globalThis['ev' + 'al']('42')",
    "eval in an array": "['42'].map(eval)[0]",
    "a timer": "setTimeout('console.log(42)', 0)",
    "a timer that repeats": "setInterval('console.log(42)', 1)",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("made", GENERATED.values(), ids=GENERATED)
def test_a_job_makes_code(made: str) -> None:
    """Tries it, and catches the error, so that only the attempt itself can count."""
    source = f"fn((state) => {{ try {{ console.log({made}); }} catch {{}} return state; }});"
    result = run_job(source)
    assert "42" not in "".join(logs(result))
    assert (result.status, result.error_type) == ("killed", "SecurityError"), result.error


def test_a_filter_of_a_path_is_no_code() -> None:
    """Tries to have an expression in a JSON path reach the constructor of functions."""
    path = "$..[?(@.constructor.constructor('return 42')())]"
    result = run_job(
        f'fn((state) => ({{ data: jsonValue(state.data, "{path}") }}));', {"data": [1]}
    )
    assert "42" not in str((result.final_state or {}).get("data"))


@pytest.mark.slow
@needs_npm
@pytest.mark.parametrize("made", [made for made in GENERATED.values() if made.startswith("_")])
def test_a_job_makes_code_by_the_real_library(made: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries the library that the real common adaptor has bundled, which may make code itself."""
    install(COMMON)
    monkeypatch.setattr(cache, "root", lambda: Path(KEPT))
    monkeypatch.setattr(cache, "root_path", lambda: KEPT)
    source = f"fn((state) => {{ try {{ console.log({made}); }} catch {{}} return state; }});"
    result = worker.run(workflow(job(source)), {})
    assert "42" not in "".join(logs(result))
    assert result.error_type == "SecurityError", result.error


@pytest.mark.slow
@needs_npm
def test_the_real_adaptor_validates_by_code_that_it_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an attack: ``validate`` compiles a schema to a function."""
    install(COMMON)
    monkeypatch.setattr(cache, "root", lambda: Path(KEPT))
    monkeypatch.setattr(cache, "root_path", lambda: KEPT)
    schema = "{ type: 'object', properties: { age: { type: 'number' } } }"
    step = {"id": "a", "adaptor": COMMON, "expression": f"validate({schema}, (s) => s.data);"}
    result = worker.run(workflow(step), {"data": {"age": "old"}})
    assert result.status == "success", result.error
    assert "must be number" in str(result.final_state)
