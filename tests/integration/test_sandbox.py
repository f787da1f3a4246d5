"""Hostile jobs: they reach, see and change nothing beyond their own state."""

from __future__ import annotations

import json

import pytest

import worker
from tests.support.helpers import job, logs, run_job, workflow
from worker.core.events import to_json

ESCAPES = [
    "eval('1')",
    "(0, eval)('1')",
    "globalThis.eval('1')",
    "new Function('return 1')()",
    "Function('return 1')()",
    "(() => {}).constructor('return 1')()",
    "(async () => {}).constructor('return 1')()",
    "(function* () {}).constructor('return 1')()",
    "(async function* () {}).constructor('return 1')()",
    "Reflect.construct(Function, ['return 1'])()",
    "Object.getPrototypeOf(async () => {}).constructor('1')()",
    "fn.constructor('return 1')()",
    "console.log.constructor('return 1')()",
    "setTimeout.constructor('return 1')()",
    "state.constructor.constructor('return 1')()",
]


@pytest.mark.parametrize("escape", ESCAPES)
def test_code_cannot_be_made_from_text(escape: str) -> None:
    result = run_job(f"fn(state => {{ {escape}; return state; }});")
    assert (result.status, result.error_type) == ("killed", "SecurityError"), result.error


@pytest.mark.parametrize("escape", ESCAPES)
def test_an_attempt_counts_even_where_the_job_catches_it(escape: str) -> None:
    result = run_job(f"fn(state => {{ try {{ {escape} }} catch {{}} return state; }});")
    assert result.error_type == "SecurityError"


@pytest.mark.parametrize(
    "name",
    ["process", "require", "module", "__dirname", "std", "os", "scriptArgs", "Deno", "window",
     "XMLHttpRequest", "WebAssembly", "Worker", "__worker", "__log", "__now", "host", "api",
     "InternalError", "__lodash", "__dateFns"],
)  # fmt: skip
def test_the_host_is_not_in_scope(name: str) -> None:
    result = run_job(f"fn(state => {{ {name}; return state; }});")
    assert (result.status, result.error_type) == ("crashed", "ReferenceError")


def test_globals_are_the_language_and_what_jobs_expect() -> None:
    names = set(run_job("fn(() => Object.getOwnPropertyNames(globalThis));").final_state)
    assert {
        "JSON",
        "console",
        "setTimeout",
        "Buffer",
        "state",
    } <= names
    assert names.isdisjoint({"URL", "TextEncoder", "structuredClone", "fetch", "performance"})
    assert not {name for name in names if name.startswith("_") or "worker" in name.lower()}


@pytest.mark.parametrize(
    "bend",
    [
        "JSON.parse = () => ({})",
        "Array.prototype.map = () => 'bent'",
        "Object.prototype.stolen = 1",
        "Promise.prototype.then = () => {}",
        "globalThis.fn = 1",
        "console.log = () => {}",
        "Object.defineProperty(Object.prototype, 'configuration', { set() {} })",
        "Object.setPrototypeOf(Array.prototype, {})",
        "fn.call = 1",
        "Error.prepareStackTrace = (e, frames) => frames",
        "Object.getPrototypeOf(function* () {}).next = 1",
        "delete globalThis.JSON",
    ],
)
def test_one_step_cannot_bend_what_the_next_one_uses(bend: str) -> None:
    steps = (
        job(
            f"fn(state => {{ try {{ {bend}; }} catch {{}} return {{ data: [1] }}; }});",
            "a",
            next="b",
        ),
        job(
            "fn(state => { console.log('b'); return { data: state.data.map(x => x + 1) }; });", "b"
        ),
    )
    result = worker.run(workflow(*steps), {})
    assert result.final_state == {"data": [2]}
    assert logs(result) == ["b"]


@pytest.mark.parametrize(
    "bend",
    [
        "globals.fn = evil",
        "globals.execute = evil",
        "delete globals.fn",
        "Object.setPrototypeOf(globals, { execute: evil })",
    ],
)
def test_a_step_cannot_bend_what_a_step_with_the_same_code_uses(bend: str) -> None:
    source = f"""
    const globals = arguments[0].exports;
    const evil = () => state => ({{ stolen: state.configuration }});
    if (state.configuration.user === "mallory") {{ try {{ {bend}; }} catch {{}} }}
    fn(state => ({{ users: [...(state.users ?? []), state.configuration.user] }}));"""
    steps = (
        job(source, "a", configuration={"user": "mallory"}, next="b"),
        job(source, "b", configuration={"user": "victor"}),
    )
    assert worker.run(workflow(*steps), {}).final_state == {"users": ["mallory", "victor"]}


REACHABLE_OBJECTS_WITH_A_MARK = """
const seen = new Set();
const marked = [];
const visit = (value, path) => {
  const isObject = (typeof value === "object" && value !== null) || typeof value === "function";
  if (!isObject || value === state || seen.has(value)) return;
  seen.add(value);
  if (Object.hasOwn(value, "mark")) marked.push(path);
  try { value.mark = 1; } catch {}
  const descriptors = Object.getOwnPropertyDescriptors(value);
  for (const key of Reflect.ownKeys(descriptors))
    for (const part of ["value", "get", "set"]) visit(descriptors[key][part], `${path}.${String(key)}`);
  visit(Object.getPrototypeOf(value), `${path}.[prototype]`);
};
const visited = [
  visit(arguments[0].global, "global"), visit(arguments[0], "$worker"), visit(fn, "fn"), visit(async () => {}, "async"),
  visit(function* () {}, "generator"), visit([].values(), "iterator"),
];
fn(state => ({ marked: [...(state.marked ?? []), ...marked], count: seen.size }));
"""


@pytest.mark.parametrize("has_globals", [False, True])
def test_no_object_carries_a_mark_from_one_step_to_the_next(has_globals: bool) -> None:
    source = REACHABLE_OBJECTS_WITH_A_MARK
    steps = (job(source, "a", next="b"), job(source, "b"))
    globals = "export const twice = n => 2 * n;" if has_globals else ""
    graph = {"name": "test", "steps": list(steps), "globals": globals}
    state = worker.run(worker.load({"workflow": graph}), {}).final_state
    assert state["marked"] == []
    assert state["count"] > 500


def test_stack_frames_do_not_give_functions_away() -> None:
    source = """fn(state => {
      try { Error.prepareStackTrace = (e, frames) => frames.map(f => f.getFunction()); } catch {}
      return { stack: typeof new Error('x').stack };
    });"""
    assert run_job(source).final_state == {"stack": "string"}


def test_an_error_can_still_be_given_a_name() -> None:
    source = """fn(state => {
      class Unpaid extends Error { constructor(m) { super(m); this.name = 'Unpaid'; } }
      const o = {}; o.toString = () => 'mine'; o.constructor = 1;
      const e = new Unpaid('x');
      return { name: e.name, text: String(o), own: Object.keys(o) };
    });"""
    expected = {"name": "Unpaid", "text": "mine", "own": ["toString", "constructor"]}
    assert run_job(source).final_state == expected


SECRET = "s3cr3t-passw0rd"


def secretive(expression: str, user: str = "nurse") -> worker.Workflow:
    configuration = {"username": user, "password": SECRET, "baseUrl": "https://emr.example"}
    return workflow(
        job(expression, "a", configuration=configuration, next="b"),
        job("fn(state => ({ ...state, seen: state.configuration }));", "b"),
    )


def test_a_credential_goes_to_its_own_step_alone() -> None:
    result = worker.run(secretive("fn(state => state);"), {})
    assert result.final_state["seen"] == {}
    assert "configuration" not in result.final_state


@pytest.mark.parametrize(
    "leak",
    [
        "console.log(state.configuration.password)",
        "console.log(state.configuration)",
        "console.log(encodeURIComponent(state.configuration.password))",
        "console.log(btoa('nurse:' + state.configuration.password))",
        "console.log(Buffer.from(state.configuration.password).toString('base64'))",
        "state.data = { copy: state.configuration.password }",
        "state.data = { copy: { deep: [JSON.stringify(state.configuration)] } }",
        "throw new Error('login failed: ' + state.configuration.password)",
        "throw Object.assign(new Error('x'), { request: { auth: state.configuration } })",
        "undefinedThing[state.configuration.password]",
        "state.self = state",
    ],
)
def test_no_event_and_no_result_holds_a_credential(leak: str) -> None:
    result = worker.run(secretive(f"fn(state => {{ {leak}; return state; }});"), {})
    everything = "\n".join(map(to_json, result.events)) + (result.final_text or "")
    everything += json.dumps(result.error_message)
    for spelling in (SECRET, "czNjcjN0LXBhc3N3MHJk", "bnVyc2U6czNjcjN0LXBhc3N3MHJk"):
        assert spelling not in everything


@pytest.mark.parametrize("user", ["ann", "anna", "nurse"])
def test_no_log_holds_basic_auth_whatever_the_length_of_the_user(user: str) -> None:
    source = "fn(s => { console.log(Buffer.from(s.configuration.username + ':' + s.configuration.password).toString('base64')); return s; });"
    (line,) = logs(worker.run(secretive(source, user), {}))
    assert line.rstrip("=") == "***"


def test_where_a_credential_points_to_stays_readable() -> None:
    result = worker.run(
        secretive("fn(s => { console.log(s.configuration.baseUrl); return s; });"), {}
    )
    assert logs(result) == ["https://emr.example"]


def test_siblings_never_share_objects() -> None:
    steps = (
        job("fn(s => ({ data: { n: 1 } }));", "a", next={"b": True, "c": True}),
        job("fn(s => { s.data.n = 2; return s; });", "b"),
        job("fn(s => s);", "c"),
    )
    assert worker.run(workflow(*steps), {}).final_state == {
        "b": {"data": {"n": 2}},
        "c": {"data": {"n": 1}},
    }


@pytest.mark.parametrize(
    "source",
    [
        "fn(s => ({ get a() { throw new Error('getter'); } }));",
        "fn(s => ({ toJSON() { throw new Error('toJSON'); } }));",
        "fn(s => new Proxy({}, { ownKeys() { throw new Error('proxy'); } }));",
        "fn(s => { throw new Proxy(new Error('x'), { get() { throw 1; } }); });",
        "fn(s => { throw null; });",
        "fn(s => { throw { get message() { throw 1; } }; });",
        "fn(s => { throw Symbol('x'); });",
        "fn(s => { const e = new Error('x'); e.self = e; throw e; });",
        "fn(s => Object.freeze(s) && (() => { throw new Error('frozen'); })());",
        "fn(s => { s.errors = 7; throw new Error('x'); });",
    ],
)  # fmt: skip
def test_a_hostile_value_is_the_jobs_failure_and_not_ours(source: str) -> None:
    result = run_job(source)
    assert result.status in ("failed", "success"), result.error
    if result.status == "failed":
        assert result.error_type in ("JobError", "TypeError", "RangeError")


def test_the_environment_of_the_parent_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_TEST_SECRET", "env-secret-value")
    result = run_job("fn(s => ({ g: Object.getOwnPropertyNames(globalThis).join() }));")
    assert "env-secret-value" not in (result.final_text or "")


def test_half_a_character_in_a_state_or_a_log_harms_nothing() -> None:
    source = "fn(s => { console.log(s.data.s, 'a\\u0000b'); return { n: s.data.s.length, s: s.data.s }; });"
    result = run_job(source, {"data": {"s": "\ud83d x"}})
    assert result.final_state == {"n": 3, "s": "\ud83d x"}
    assert logs(result) == ["? x a\x00b"]


def test_a_step_may_have_the_name_of_anything() -> None:
    names = ["constructor", "__proto__", "toString", "job:a", "a b/c[0]", "π"]
    steps = [
        job(
            "fn(s => { throw new Error(s.data); });" if i == 0 else "fn(s => s);",
            name,
            next={names[i + 1]: "on_job_failure" if i == 0 else "on_job_success"},
        )
        if i + 1 < len(names)
        else job("fn(s => s);", name)
        for i, name in enumerate(names)
    ]
    result = worker.run(workflow(*steps), {})
    assert [entry.step for entry in result.path] == names


def test_a_cut_never_leaves_half_a_secret_behind() -> None:
    secret = "Zq7-" * 8
    source = "fn(s => { console.log('x'.repeat(2 ** 20 - 16) + s.configuration.password); throw new Error('y'.repeat(2e6) + s.configuration.password); });"
    result = worker.run(workflow(job(source, configuration={"password": secret})), {})
    everything = "".join(map(to_json, result.events))
    assert "Zq7-" not in everything


def test_a_failure_whose_state_is_no_json_passes_its_input_on() -> None:
    change = "s.data.n = 2; s.data.x = { toJSON() { throw new TypeError('no JSON'); } };"
    steps = (
        job(
            f"fn(s => {{ {change} throw new Error('deep'); }});", "a", next={"b": "on_job_failure"}
        ),
        job("fn(s => ({ data: s.data, message: s.errors.a.message }));", "b"),
    )
    result = worker.run(workflow(*steps), {"data": {"n": 1}})
    assert result.final_state == {"data": {"n": 1}, "message": "deep"}, result.error
