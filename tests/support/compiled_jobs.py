"""Runs compiled jobs in the engine, with a minimal runtime and adaptor."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from worker.compiler.compile_job import compile_job
from worker.compiler.compiled_job import CompiledJob
from worker.engine.instance import Instance
from worker.engine.shared import blank_instance
from worker.engine.values import Value

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
class CompletedJob:
    """Result of a job: its state and number of operations, or its error and the error's position."""

    state: Any = None
    count: int = 0
    error: str = ""
    name: str = ""
    at: tuple[int, int] = (0, 0)


def run(source: str | CompiledJob, **state: Any) -> CompletedJob:
    """Compile a job, execute it as a run's process does, and return its result."""
    job = compile_job(source) if isinstance(source, str) else source
    instance = blank_instance()
    evaluate(instance, HARNESS)
    names = ", ".join(sorted(ADAPTOR & set(job.free)))
    head = f'(async function ($worker) {{"use strict"; const {{{names}}} = adaptor;\n'
    evaluate(instance, f"void run({head}{job.body}\n}}), {json.dumps(state)})")
    instance.call("drain")
    text = evaluate(instance, "JSON.stringify(outcome ?? {error: 'never ended'})")
    outcome = json.loads(str(text))
    return CompletedJob(**outcome)


def body(source: str) -> str:
    return compile_job(source).body


def evaluate(instance: Instance, source: str) -> Value:
    """Return what a script evaluates to; fail with what it throws."""
    succeeded = instance.evaluate(source)
    value = instance.call("read_register")
    assert succeeded, value
    return value
