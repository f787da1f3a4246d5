"""Generator of programs: sources from the grammar, plans from the random numbers of a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, Final

from tools.parity.grammar import Grammar
from tools.parity.programs import Program

COMMON: Final = "@openfn/language-common@3.3.4"
INPUT: Final = {
    "data": {
        "n": 5,
        "name": "Ama",
        "items": [1, 2, 3],
        "none": None,
        "patient": {"age": 7, "names": [{"first": "A"}]},
        "rows": [{"k": "p", "v": 1}, {"k": "q", "v": 2}, {"k": "p", "v": 3}],
    },
    "extra": "x",
}
GLOBALS: Final = (
    "export const up = (s) => s.toUpperCase();\n"
    "export function twice(n) { return n * 2; }\n"
    "export const CONST = [1, { deep: true }];\n"
    "export default 'the default';\n"
)
# Numbers, as texts of a configuration are secrets, which are masked here.
CREDENTIALS: Final = {"token": 1, "baseUrl": 2}
_KEYS: Final = "fn((s) => ({ ...s, seen: Object.keys(s).sort(), failed: Object.keys(s.errors ?? {}) }));"

# Kinds whose programs are one source from the grammar rule of that name.
SOURCES: Final = ("state", "compile", "names", "errors", "mistakes", "values", "console", "expressions")


class Generator:
    """Programs of a seed, as many of each kind as are wanted."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def programs(self, kind: str, count: int) -> Iterator[Program]:
        # Each kind has its own numbers, so that another kind's size does not change it.
        chooser = random.Random(f"{self._seed} {kind}")
        grammar = Grammar(chooser.randrange(1 << 32))
        make = _source_plan if kind in SOURCES else PLANS[kind]
        for number in range(count):
            plan, input = make(kind, grammar, chooser)
            yield Program(kind=kind, number=number, plan=plan, input=input)


def _step(id: str, source: str, **fields: Any) -> dict[str, Any]:
    return {"id": id, "adaptor": COMMON, "expression": source, **fields}


Plan = tuple[dict[str, Any], dict[str, Any]]


def _plan(steps: list[dict[str, Any]], input: dict[str, Any] | None = None, **options: Any) -> Plan:
    return {"workflow": {"steps": steps}, "options": options}, INPUT if input is None else input


def _source_plan(kind: str, grammar: Grammar, chooser: random.Random) -> Plan:
    """Write one source as a step, with another that shows what was passed on."""
    first = _step("a", grammar.expand(kind), next={"b": chooser.choice(("always", "on_job_success", "on_job_failure"))})
    if chooser.random() < 0.5:
        first["name"] = "First step"
    plan, input = _plan([first, _step("b", _KEYS)])
    if kind == "names":
        plan["workflow"] |= {"globals": GLOBALS, "credentials": CREDENTIALS}
        if chooser.random() < 0.5:
            first["configuration"] = {"token": 3}
    return plan, input


# --- plans ----------------------------------------------------------------------------------------

_CONDITIONS: Final = (
    "always", "on_job_success", "on_job_failure", "on_upstream_success", "on_upstream_fail", True, False,
    "state.data.n > 3", "state.data.n > 99", "!state.errors", "state.errors", "state.data.n > 3;",
    "state.errors && state.errors.a", "state.errors?.[upstreamStepId]", "state.data.items.length === 3",
    "state.data.nope?.x === undefined", "Boolean(state.data.none)", "Promise.resolve(false)", "() => false",
    "state => false", "state.data.name === 'Ama' && upstreamStepId === 'a'", "({})", "''", "0", "'x'",
    "(state.data.marked = 1, true)", "state.data.items.push(4) > 3", "(state.x = upstreamStepId)",
    "state.data.n > 3 // why", "/* no */ false", "typeof fn === 'undefined'", "typeof Buffer === 'undefined'",
    "typeof setTimeout === 'undefined'", "typeof state.configuration === 'undefined'", "new Date(0).getTime() === 0",
    "[1, 2].includes(state.data.n)", "state.data.items.some(i => i > 2)", "JSON.stringify(state).length > 10",
    "Object.keys(state).length > 1", "/A/.test(state.data.name)", "typeof console.log === 'function'",
    "(() => { delete state.extra; return true; })()", "state.data.patient.age >= 7 ? true : false",
)  # fmt: skip
_THROWING: Final = (
    "state.nope.x", "data.n > 3", "undeclared", "state.data.none.y", "null.x", "(() => { throw new Error('mine'); })()",
    "(() => { throw 'text'; })()", "fn(1)", "up('x')", "state.data.n()", "configuration.x",
)  # fmt: skip
_BROKEN: Final = ("state.data.n >", "const x = 1", "if (true) 1", "return true", "state.data..n", "x y", "1 = 2")
_WORK: Final = (
    "fn(s => s);", "fn(s => ({ ...s, <id>: 1 }));", "fn(s => { s.data.last = '<id>'; return s; });",
    "fn(s => ({ data: { only: '<id>' } }));", "fn(s => ({ ...s, seen: [...(s.seen ?? []), '<id>'] }));",
    "fn(s => { s.data.items.push('<id>'); return s; });", "fn(s => ({ ...s, data: { ...s.data, <id>: s.data.n } }));",
)  # fmt: skip
_FAILING: Final = (
    "fn(s => { throw new Error('no <id>'); });", "fn(s => { s.data.before = '<id>'; throw new TypeError('no <id>'); });",
    "fn(s => s.nope.x);", "fn(async s => { await null; throw 'text'; });", "const check = () => { throw new Error('named'); };\nfn(s => check());",
)  # fmt: skip
_EMPTY: Final = ("fn(s => undefined);", "fn(s => null);", "fn(() => {});", "fn(s => ({}));", "fn(s => ({ data: {} }));")
_CRASHING: Final = ("fn(s => undeclared);", "fn(s => { eval('1'); });", "fn(s => { JSON.parse('{'); return s; });", "import fs from 'fs';\nfn(s => s);")


def _work(chooser: random.Random, id: str, failing: float = 0.25, empty: float = 0.08, crashing: float = 0.0) -> str:
    dice = chooser.random()
    if dice < crashing:
        source = chooser.choice(_CRASHING)
    elif dice < crashing + failing:
        source = chooser.choice(_FAILING)
    elif dice < crashing + failing + empty:
        source = chooser.choice(_EMPTY)
    else:
        source = chooser.choice(_WORK)
    return source.replace("<id>", id)


def _edges(kind: str, grammar: Grammar, chooser: random.Random) -> Plan:
    """Write a step with up to four edges of all sorts."""
    targets = ["b", "c", "d", "e"][: chooser.randint(1, 4)]
    edges: dict[str, Any] = {}
    for target in targets:
        dice = chooser.random()
        condition: Any = chooser.choice(_THROWING if dice < 0.08 else _BROKEN if dice < 0.1 else _CONDITIONS)
        edges[target] = chooser.choice((
            condition, condition, {"condition": condition}, {"condition": condition, "label": "l"},
            {"condition": condition, "disabled": chooser.random() < 0.5}, {}, {"label": "l"},
        ) if dice > 0.3 else (condition,))  # fmt: skip
    steps = [_step("a", _work(chooser, "a"), next=edges)]
    steps += [_step(target, _work(chooser, target, failing=0.1)) for target in targets]
    if len(targets) == 1 and chooser.random() < 0.2:
        steps[0]["next"] = "b"
    return _plan(steps, _input(chooser))


def _input(chooser: random.Random) -> dict[str, Any]:
    return chooser.choice((
        INPUT, INPUT, INPUT, {"data": {"n": 5, "items": [], "name": ""}}, {"data": {"n": 5, "items": [1], "name": "Ama", "patient": {"age": 3}}, "errors": {"old": {"message": "x"}}},
    ))  # fmt: skip


def _graph(chooser: random.Random, size: int, joins: bool, **work: float) -> list[dict[str, Any]]:
    """Write steps in a row of layers; edges lead forward, with joins where wanted."""
    ids = [chr(ord("a") + index) for index in range(size)]
    steps = [_step(id, _work(chooser, id, **work)) for id in ids]
    simple = ("always", True, "on_job_success", "on_job_failure", "state.data.n > 3", "!state.errors", "Boolean(state)")
    targeted: set[str] = set()
    for index, step in enumerate(steps):
        later = ids[index + 1 :]
        if not joins:
            later = [id for id in later if id not in targeted]
        chosen = sorted(chooser.sample(later, min(len(later), chooser.choice((0, 1, 1, 2, 2, 3)))), key=lambda _: chooser.random())
        targeted.update(chosen)
        if chosen:
            step["next"] = {id: chooser.choice(simple) for id in chosen}
        if chooser.random() < 0.3:
            step["name"] = f"Step {step['id']}"
        if chooser.random() < 0.15:
            step["state"] = chooser.choice(({"data": {"default": 1, "n": 0}}, {"extra": "default", "more": [1]}, {"data": [1]}))
    return steps


def _joins(kind: str, grammar: Grammar, chooser: random.Random) -> Plan:
    return _plan(_graph(chooser, chooser.randint(3, 6), joins=True, failing=0.2), _input(chooser))


def _end(kind: str, grammar: Grammar, chooser: random.Random) -> Plan:
    steps = _graph(chooser, chooser.randint(2, 6), joins=chooser.random() < 0.6, failing=0.2)
    ids = [step["id"] for step in steps]
    options = {}
    if chooser.random() < 0.85:
        options["end"] = chooser.choice([*ids, "nowhere"] if chooser.random() < 0.1 else ids)
    if chooser.random() < 0.35:
        options["start"] = chooser.choice([*ids[:3], "nowhere"] if chooser.random() < 0.1 else ids[:3])
    return _plan(steps, _input(chooser), **options)


def _plans(kind: str, grammar: Grammar, chooser: random.Random) -> Plan:
    """Write a plan of everything: crashes, defaults, globals, credentials, steps without ids."""
    steps = _graph(chooser, chooser.randint(2, 6), joins=True, failing=0.15, empty=0.1, crashing=0.08)
    plan, input = _plan(steps, _input(chooser))
    for step in steps:
        if chooser.random() < 0.2:
            step["configuration"] = {"token": len(step), "own": 1}
        if chooser.random() < 0.3:
            step["expression"] = grammar.expand(chooser.choice(("state", "operation", "compile")))
    if chooser.random() < 0.3:
        plan["workflow"]["globals"] = GLOBALS
    if chooser.random() < 0.3:
        plan["workflow"]["credentials"] = CREDENTIALS
    if chooser.random() < 0.2:
        # Only a step that no edge names can be without an id.
        targets = {target for step in steps for target in step.get("next", ())}
        for step in steps:
            if step["id"] not in targets:
                del step["id"]
    return plan, input


_DATA: Final = ({"a": 1, "o": {"x": 1}}, [], [1, 2], "", "text", 0, 5, None, False, True, {})


def _inputs(kind: str, grammar: Grammar, chooser: random.Random) -> Plan:
    """Write what a step's input is made of: upstream state, defaults and configuration."""
    input: dict[str, Any] = {"extra": 1} if chooser.random() < 0.5 else {}
    for key in ("data", "configuration", "response", "references", "errors"):
        if chooser.random() < (0.8 if key == "data" else 0.25):
            input[key] = chooser.choice(_DATA) if key == "data" else {"from": 1}
    show = "fn(s => ({ ...s, seen: { data: s.data, keys: Object.keys(s), conf: s.configuration, response: s.response ?? null } }));"
    first = _step("a", show, next={"b": "always"})
    returned = chooser.choice(("{ ...s, data: <data> }", "({ data: <data> }).data", "{ x: <data> }", "s", "{ ...s, configuration: { sneaky: 1 }, response: 1 }"))
    text = chooser.choice(("{ a: 2, o: { y: 1 } }", "[]", "[3]", "''", "'ab'", "0", "7", "null", "undefined", "true", "{}"))
    second = _step("b", f"fn(s => ({returned.replace('<data>', text)}));", next={"c": "always"})
    third = _step("c", show)
    for step in (first, second, third):
        if chooser.random() < 0.5:
            step["state"] = chooser.choice(({"data": {"d": 1, "o": {"z": 1}}}, {"data": [9]}, {"more": 1, "extra": "default"}, {"configuration": {"d": 1}}, {"data": None}, {}))
        if chooser.random() < 0.5:
            step["configuration"] = {"own": 3}
    plan, _ = _plan([first, second, third])
    if chooser.random() < 0.4:
        plan["workflow"]["credentials"] = CREDENTIALS
    return plan, input


_GLOBALS: Final = (
    GLOBALS, "export const a = nope;", "export const a = ;", "import x from 'fs'; export const a = x;", "export const a = typeof fn + typeof console + typeof URL;",
    "export const console = 1; export const state = 2; export const parseInt = 3; export const up = () => 'own';", "let n = 0; export const up = () => String(++n);",
    "export const up = (s) => { throw new Error('from globals'); };", "export const up = (s) => s.nope.x;", "export { x as up }; const x = (s) => s + '!';",
    "export const up = (s) => state.data;", "", "const hidden = 1;", "export const fn = () => (s) => ({ replaced: true }); export const up = (s) => s;",
    "export class Tool { go() { return 'went'; } } export const up = (s) => new Tool().go();", "export default { a: 1 }; export const up = () => typeof globalThis.default;",
)  # fmt: skip
_USES: Final = (
    "fn(s => ({ ...s, v: up('x') }));", "fn(s => ({ ...s, v: typeof up, w: typeof console, p: parseInt('5') }));", "const v = up('y');\nfn(s => ({ ...s, v }));",
    "fn(s => ({ ...s, v: typeof globalThis.up, d: typeof globalThis.default, a: typeof a }));", "fn(s => { up('a'); return { ...s, v: up('b') }; });",
    "fn(s => ({ ...s, v: s.data.items.map(up) }));", "const h = (s) => (typeof up === 'function' ? up('h') : 'none');\nfn(s => ({ ...s, v: h(s) }));", "fn(up);", "each('$.data.items[*]', s => ({ ...s, v: up(s.data) }));",
)  # fmt: skip


def _globals(kind: str, grammar: Grammar, chooser: random.Random) -> Plan:
    use = chooser.choice(_USES)
    plan, input = _plan([_step("a", use, next={"b": "always"}), _step("b", chooser.choice(_USES))])
    plan["workflow"]["globals"] = chooser.choice(_GLOBALS)
    return plan, input


PLANS: Final[dict[str, Callable[[str, Grammar, random.Random], Plan]]] = {
    "edges": _edges, "joins": _joins, "end": _end, "plans": _plans, "inputs": _inputs, "globals": _globals,
}  # fmt: skip
KINDS: Final = (*SOURCES, *PLANS)
