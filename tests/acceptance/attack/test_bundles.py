"""Attacks by an adaptor: its bundle runs before any job, in the realm that all steps share.
Each test says what the bundle tries."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import worker
from tests.support.fake_adaptors import store_bundle
from tests.support.helpers import COMMON, check_events, logs, workflow
from worker.adaptors import cache
from worker.engine.failures import ScriptError
from worker.runner.pool import Pool
from worker.sandbox import realms
from worker.sandbox.confinement.layers import missing_layers
from worker.sandbox.javascript.engine import load_realm
from worker.sandbox.parent import process_pool
from worker.sandbox.parent.run_process import EXIT_TIMEOUT_S
from worker.util.cache_folder import root

EVIL = "@evil/adaptor@1.0.0"
EXPORTS = "globalThis.__adaptor = { seen: () => globalThis.kept, fn: (f) => f };"


@pytest.fixture(autouse=True)
def own_adaptors(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Not the whole cache of the user, which holds the engine too.
    monkeypatch.setattr(cache, "root", lambda: tmp_path)
    monkeypatch.setattr(cache, "root_path", lambda: str(tmp_path))


def step(source: str, id: str, adaptor: str = COMMON, **fields: Any) -> dict[str, Any]:
    return {"id": id, "adaptor": adaptor, "expression": source, **fields}


async def run(pool: Pool, *steps: dict[str, Any], **input: Any) -> Any:
    result = await pool.run(workflow(*steps), input)
    check_events(result)
    return result


LIES = {
    "what parses the state of each step": "JSON.parse = () => ({ data: 'lie' })",
    "what writes the output of each step": "JSON.stringify = () => '{\"data\":\"lie\"}'",
    "what runs after each promise": "Promise.prototype.then = function () { return this; }",
    "what arrays of other steps do": "Array.prototype.map = () => 'lie'",
    "the prototype of all objects": "Object.prototype.data = 'lie'",
    "a name of the language": "globalThis.Number = () => 'lie'",
    "what checks errors": "Object.defineProperty(Error, Symbol.hasInstance, { value: () => 'lie' })",
    "a setter for all configurations": "Object.defineProperty(Object.prototype, 'configuration', { set(v) { this.data = v } })",
    "the iterators of arrays": "Object.getPrototypeOf([][Symbol.iterator]()).next = () => ({ done: true })",
    "iterator helpers": "Object.getPrototypeOf([].values().map((x) => x)).next = () => ({ done: true })",
    "what logs": "console.log = () => {}",
    "the length of traces": "Error.stackTraceLimit = 0",
    "a name that no step declares": "globalThis.lie = 1",
    "a name that all scripts share": "var lie = 1; let alsoLie = 1; function lies() {}",
    "the prototype of the global object": "Object.setPrototypeOf(globalThis, { lie: 1 })",
}  # fmt: skip


def test_a_bundle_changes_the_language_for_others() -> None:
    """Tries to replace what other steps, the recorder and the serializer of states use."""
    lies = " ".join(f"try {{ {lie} }} catch {{}}" for lie in LIES.values())
    store_bundle(EVIL, f"{lies} {EXPORTS}")
    source = """fn((state) => {
      const names = [typeof lie, typeof alsoLie, typeof lies];
      console.log('logged');
      return { data: { list: [1, ...state.data.list].map(Number), names, trace: Error.stackTraceLimit,
               helped: [1].values().map((x) => x + 1).toArray(), error: {} instanceof Error } };
    })"""
    first = step("fn((state) => ({ data: { list: [2] } }))", "a", EVIL, next="b")
    result = worker.run(workflow(first, step(source, "b")), {})
    assert result.status == "success", result.error
    assert result.final_state == {
        "data": {
            "list": [1, 2],
            "names": ["undefined"] * 3,
            "trace": 10,
            "helped": [2],
            "error": False,
        }
    }
    assert logs(result) == ["logged"]


KEEPERS = {
    "its compiler": "Function",
    "the constructor of functions": "(() => {}).constructor",
    "the constructor of async functions": "(async () => {}).constructor",
    "the constructor of generators": "(function* () {}).constructor",
    "the constructor, by its prototype": "Function.prototype.constructor",
    "the constructor, as a subclass": "class extends Function {}",
    "its compiler, bound": "Function.bind(null)",
    "the global one": "globalThis.Function",
    "eval": "eval",
}
WAYS = ["make('return 42')()", "new make('return 42')()", "['return 42'].map(make)[0]()",
        "Reflect.construct(make, ['return 42'])()", "make.call(null, 'return 42')()"]  # fmt: skip


def test_a_bundle_keeps_compilers_for_jobs() -> None:
    """Tries to give jobs a function that makes code from text."""
    kept = ", ".join(f"{json.dumps(name)}: {make}" for name, make in KEEPERS.items())
    store_bundle(EVIL, f"globalThis.__adaptor = {{ kept: {{ {kept} }}, fn: (f) => f }};")
    ways = ", ".join(f"() => {way}" for way in WAYS)
    source = f"""fn((state) => {{
      for (const [name, make] of Object.entries(kept))
        for (const way of [{ways}])
          try {{ console.log(name, String(way), way()); }} catch (error) {{}}
      return {{ data: Object.keys(kept).length }};
    }})"""
    result = worker.run(workflow(step(source, "a", EVIL)), {})
    assert logs(result) == []
    assert (result.status, result.error_type) == ("killed", "SecurityError"), result.error


def test_an_adaptor_makes_code_of_its_own() -> None:
    """Not an attack: ajv, in the real common adaptor, compiles schemas to functions."""
    bundle = """const make = (schema) => new Function("value", `return typeof value === "${schema.type}"`);
      globalThis.__adaptor = { fits: (schema, value) => make(schema)(value), fn: (f) => f,
                               same: () => (() => {}) instanceof Function };"""
    store_bundle(EVIL, bundle)
    source = (
        "fn(() => ({ data: [fits({ type: 'number' }, 1), fits({ type: 'number' }, 'x'), same()] }))"
    )
    result = worker.run(workflow(step(source, "a", EVIL)), {})
    assert result.final_state == {"data": [True, False, True]}, result.error


def test_a_bundle_reads_the_credential_of_another_step() -> None:
    """Tries to keep what passes through functions that it replaced, for its own step."""
    bundle = """const parse = JSON.parse; let stolen = [];
      try { JSON.parse = (text) => { stolen.push(text); return parse(text); }; } catch {}
      globalThis.__adaptor = { loot: () => stolen, fn: (f) => f };"""
    store_bundle(EVIL, bundle)
    steps = (
        step("fn((state) => state)", "a", configuration={"password": "hunter2-hunter2"}, next="b"),
        step("fn(() => ({ data: loot() }))", "b", EVIL),
    )
    result = worker.run(workflow(*steps), {})
    assert result.final_state == {"data": []}


RETURNS = """const withSecrets = (s) => ({ data: 1, configuration: s.configuration, response: 1 });
  globalThis.__adaptor = {
    returned: () => (s) => ({ data: 1, toJSON: () => withSecrets(s) }),
    assigned: () => (s) => { s.toJSON = () => withSecrets(s); return s; },
    thrown: () => (s) => { s.toJSON = () => withSecrets(s); throw new Error("no"); },
  };"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["returned", "assigned", "thrown"])
def test_a_state_brings_the_credential_of_its_step_along(name: str) -> None:
    """Tries to give a later step, and the output, what is removed before toJSON is called."""
    store_bundle(EVIL, RETURNS)
    steps = (
        step(f"{name}()", "a", EVIL, configuration={"user": "u1"}, next={"b": True}),
        step("fn((s) => ({ data: [s.configuration, s.response ?? null] }))", "b"),
    )
    assert worker.run(workflow(*steps), {}).final_state["data"] == [{}, None]
    alone = worker.run(workflow(steps[0] | {"next": {}}), {}).final_state
    assert not {"configuration", "response"} & alone.keys()


KEEPS = """let kept = null; const fn = (f) => f;
  globalThis.__adaptor = {
    fn,
    keep: () => (s) => { kept = fn.kept = globalThis.kept = s.configuration.user; return s; },
    loot: () => (s) => ({ data: [kept, fn.kept ?? null, globalThis.kept ?? null] }),
  };"""
OTHER = "@evil/other@1.0.0"


@pytest.mark.slow
def test_an_adaptor_keeps_a_credential_for_other_adaptors_or_runs() -> None:
    """Tries to leave it on its functions and the global object, and in variables of its own."""
    store_bundle(EVIL, KEEPS)
    store_bundle(OTHER, KEEPS)
    steps = (
        step("keep()", "a", EVIL, configuration={"user": "u1"}, next="b"),
        step("loot()", "b", OTHER),
    )
    for other in (steps, (step("loot()", "b", EVIL),)):
        result = worker.run(workflow(*other), {})
        assert result.final_state == {"data": [None, None, None]}, result.error


BROKEN = {
    "throws": ("throw new Error('no')", "no"),
    "is no script": ("}); globalThis.escaped = 1; (function () {", "SyntaxError"),
    "exports nothing": ("1", "exports nothing"),
    "uses up the memory": ("const a = []; for (;;) a.push(new Array(1e6).fill(1));", "memory"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("bundle", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_bundle_leaves_the_realm_in_disorder(bundle: str, reason: str) -> None:
    """Tries to get names, or the global object, out of the realm's hands."""
    with pytest.raises(ScriptError, match=reason):
        load_realm({EVIL: bundle})


@pytest.mark.slow
@pytest.mark.parametrize(
    "bundle",
    [
        f"Object.defineProperty(globalThis, 'x', {{ value: 1 }}); {EXPORTS}",
        f"{EXPORTS} Object.freeze(globalThis);",
    ],
    ids=["leaves a name that cannot be removed", "shuts the global object"],
)
def test_a_bundle_changes_the_global_object(bundle: str) -> None:
    """Tries to change what jobs find on the global object, which is another one for a bundle."""
    store_bundle(EVIL, bundle)
    code = "fn(() => { globalThis.y = 2; return { data: [typeof x, y] }; })"
    result = worker.run(workflow(step(code, "a", EVIL)), {})
    assert result.final_state == {"data": ["undefined", 2]}, result.error


@pytest.mark.slow
async def test_a_bundle_does_not_load() -> None:
    """Tries to end more than its own run."""
    store_bundle(EVIL, "throw new Error('no')")
    async with Pool(size=1) as pool:
        result = await run(pool, step("fn((state) => state)", "a", EVIL))
        assert (result.status, result.error_type) == ("exception", "AdaptorError"), result.error
        assert "no" in result.error_message
        assert (await run(pool, step("fn((state) => state)", "a"))).status == "success"


@pytest.mark.skipif(bool(missing_layers()), reason="this system cannot confine runs")
def test_a_bundle_loads_in_a_confined_process() -> None:
    """Tries to break out of the engine while it loads, before anything is confined."""
    line = [sys.executable, "-I", "-m", realms._MAKER, str(root())]
    contents = {"bundles": {EVIL: "for (;;);"}, "libraries": []}
    with subprocess.Popen(line, stdin=subprocess.PIPE, env={}) as maker:
        assert maker.stdin is not None
        maker.stdin.write(json.dumps(contents).encode())
        maker.stdin.close()
        status = Path(f"/proc/{maker.pid}/status")
        while "Seccomp:\t2" not in (text := status.read_text()):
            assert maker.poll() is None
            time.sleep(0.01)
        maker.kill()
    assert "NoNewPrivs:\t1" in text


@pytest.mark.slow
async def test_a_bundle_does_not_return() -> None:
    """Tries to hold up other runs for ever: it takes all slots of a pool of one."""
    store_bundle(EVIL, "for (;;);")
    async with Pool(size=1) as pool:
        await run(pool, step("fn((state) => state)", "a"))
        stuck = asyncio.create_task(run(pool, step("fn((state) => state)", "a", EVIL)))
        await asyncio.sleep(0)
        innocent = await run(pool, step("fn((state) => state)", "a"))
        assert innocent.status == "success" and not stuck.done()
        result = await stuck
    assert (result.status, result.error_type) == ("exception", "AdaptorError"), result.error
    assert "processor time" in result.error_message


@pytest.mark.slow
async def test_a_pool_closes_while_a_bundle_does_not_return() -> None:
    """Tries to outlive its pool, or to keep the pool from closing."""
    store_bundle(EVIL, "for (;;);")
    async with Pool(size=1) as pool:
        stuck = asyncio.create_task(run(pool, step("fn((state) => state)", "a", EVIL)))
        await run(pool, step("fn((state) => state)", "a"))
        stuck.cancel()
        await asyncio.gather(stuck, return_exceptions=True)
        before = time.monotonic()
    assert time.monotonic() - before < EXIT_TIMEOUT_S


@pytest.mark.slow
async def test_many_sets_of_bundles_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries to have the processes of others stopped, by more sets of bundles than are kept."""
    monkeypatch.setattr(process_pool, "MAX_ZYGOTES", 2)
    for number in range(3):
        store_bundle(f"@evil/adaptor@1.0.{number}", EXPORTS)
    cancel = asyncio.Event()
    async with Pool(size=2) as pool:
        usual = pool.zygote_pid
        long = workflow(step("fn(() => new Promise((resolve) => setTimeout(resolve, 60000)))", "a"))
        running = asyncio.create_task(pool.run(long, {}, cancel=cancel))
        for number in range(3):
            done = await run(pool, step("fn((state) => state)", "a", f"@evil/adaptor@1.0.{number}"))
            assert done.status == "success", done.error
        # In use, so kept.
        assert pool.zygote_pid == usual
        cancel.set()
        assert (await running).status == "cancelled"
        for number in range(3):
            # Used last but for the others in turn, so kept.
            assert (await run(pool, step("fn((state) => state)", "a"))).status == "success"
            assert pool.zygote_pid == usual
            await run(pool, step("fn((state) => state)", "a", f"@evil/adaptor@1.0.{number}"))
