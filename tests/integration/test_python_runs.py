"""Python steps through the whole worker: the same table, the same limits, beside JavaScript."""

from __future__ import annotations

from typing import Any

import pytest

import worker
from tests.support.helpers import check_events, job, logs, workflow
from worker.runner.result import Result


def python(source: str, id: str = "a", **fields: Any) -> dict[str, Any]:
    return {"id": id, "adaptor": "python", "expression": source, **fields}


def run(source: str, **options: Any) -> Result:
    result = worker.run(workflow(python(source)), {"data": {}}, **options)
    check_events(result)
    return result


@pytest.mark.parametrize(
    ("body", "status", "type"),
    [
        ("return state", "success", None),
        ("return {'data': undeclared}", "crashed", "ReferenceError"),
        ("return state['data']['age']", "failed", "RangeError"),
        ("return [][0]", "failed", "RangeError"),
        ("return None.age", "failed", "TypeError"),
        ("return 1 + 'a'", "failed", "TypeError"),
        ("raise ValueError('no')", "failed", "JobError"),
        ("import subprocess", "killed", "ImportError"),
        ("eval('1')", "killed", "SecurityError"),
        ("exec('1')", "killed", "SecurityError"),
        ("compile('1', 'x', 'eval')", "killed", "SecurityError"),
        ("open('/etc/passwd')", "killed", "SecurityError"),
        ("raise SystemExit", "failed", "JobError"),
    ],
)
def test_the_same_table(body: str, status: str, type: str | None) -> None:
    result = run(f"def step(state):\n    {body}")
    assert (result.status, result.error_type) == (status, type), result.error


def test_a_syntax_error_refuses_the_run() -> None:
    result = run("def step(state:\n    return state")
    assert (result.status, result.error_type, result.path) == ("crashed", "SyntaxError", ())


def test_memory_is_limited() -> None:
    result = run(
        "def step(state):\n    x = []\n    while True: x.append(bytearray(10**6))", memory_mb=64
    )
    assert (result.status, result.error_type) == ("killed", "OomError")


def test_time_is_limited() -> None:
    result = run("def step(state):\n    while True: pass", timeout=0.2)
    assert (result.status, result.error_type) == ("killed", "TimeoutError")


def test_an_async_step_is_awaited() -> None:
    source = "import asyncio\nasync def step(state):\n    await asyncio.sleep(0.001)\n    return {'data': 1}"
    assert run(source).final_state == {"data": 1}


def test_prints_are_logs() -> None:
    assert logs(run("def step(state):\n    print('hello', 1)\n    return state")) == ["hello 1"]


def test_both_languages_share_states_and_edges() -> None:
    steps = (
        job("fn(s => ({ data: { n: 1 } }));", "a", next="b"),
        python("def step(s):\n    s['data']['n'] += 1\n    raise ValueError('x')", "b",
               next={"c": "on_job_failure", "d": {"condition": "state.data.n === 3"}}),
        job("fn(s => ({ n: s.data.n, message: s.errors.b.message, name: s.errors.b.name }));", "c"),
        job("fn(s => s);", "d"),
    )  # fmt: skip
    result = worker.run(workflow(*steps), {})
    assert result.final_state == {"n": 2, "message": "x", "name": "JobError"}


def test_a_credential_reaches_its_step_and_leaves_with_it() -> None:
    source = "def step(s):\n    return {**s, 'had': len(s['configuration']['password'])}"
    result = worker.run(workflow(python(source, configuration={"password": "hunter2!"})), {})
    assert result.final_state == {"data": {}, "had": 8}


def test_a_step_that_hides_its_refusal_is_still_killed() -> None:
    source = "def step(state):\n    try:\n        eval('1')\n    except BaseException:\n        pass\n    return state"
    assert run(source).error_type == "SecurityError"
