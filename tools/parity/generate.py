"""Generator of programs: sources from the grammar, plans from the random numbers of a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from tools.parity.grammar import Grammar
from tools.parity.programs import Program

COMMON: Final = "@openfn/language-common@3.3.4"
INPUT: Final[dict[str, Any]] = {
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
_INPUTS: Final[Sequence[dict[str, Any]]] = (
    INPUT,
    {"data": {"n": 5, "items": [], "name": ""}},
    {
        "data": {"n": 5, "items": [1], "name": "Ama", "patient": {"age": 3}},
        "errors": {"old": {"message": "x"}},
    },
)
GLOBALS: Final = (
    "export const up = (s) => s.toUpperCase();\n"
    "export function twice(n) { return n * 2; }\n"
    "export const CONST = [1, { deep: true }];\n"
    "export default 'the default';\n"
)
# Numbers, as texts of a configuration are secrets, which are masked here.
CREDENTIALS: Final = {"token": 1, "baseUrl": 2}
_KEYS: Final = (
    "fn((s) => ({ ...s, seen: Object.keys(s).sort(), failed: Object.keys(s.errors ?? {}) }));"
)

# Kinds whose programs are one source, from the grammar's rule of that name.
SOURCES: Final = (
    "state", "compile", "names", "errors", "mistakes", "values", "console", "expressions",
)  # fmt: skip

Step = dict[str, Any]
Plan = tuple[dict[str, Any], dict[str, Any]]


class Dice:
    """Random choices of one kind, with its grammar."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)
        self.grammar = Grammar(self.random.randrange(1 << 32))

    def under(self, probability: float) -> bool:
        return self.random.random() < probability

    def choice(self, values: Sequence[Any]) -> Any:
        return self.random.choice(values)

    def source(self, rule: str, id: str) -> str:
        return self.grammar.expand(rule).replace("<id>", id)


def programs(seed: int, kind: str, count: int) -> Iterator[Program]:
    """Yield programs of a kind. Another kind's number of programs does not change them."""
    dice = Dice(f"{seed} {kind}")
    for number in range(count):
        plan, input = PLANS[kind](dice) if kind in PLANS else _source_plan(kind, dice)
        yield Program(kind=kind, number=number, plan=plan, input=input)


def _step(id: str, source: str, **fields: Any) -> Step:
    return {"id": id, "adaptor": COMMON, "expression": source, **fields}


def _plan(steps: list[Step], input: dict[str, Any], **options: Any) -> Plan:
    return {"workflow": {"steps": steps}, "options": options}, input


def _source_plan(kind: str, dice: Dice) -> Plan:
    """Write one source as a step, with another that shows what was passed on."""
    condition = dice.choice(("always", "on_job_success", "on_job_failure"))
    first = _step("a", dice.source(kind, "a"), next={"b": condition})
    if dice.under(0.5):
        first["name"] = "First step"
    plan, input = _plan([first, _step("b", _KEYS)], INPUT)
    if kind == "names":
        plan["workflow"] |= {"globals": GLOBALS, "credentials": CREDENTIALS}
        if dice.under(0.5):
            first["configuration"] = {"token": 3}
    return plan, input


# --- plans ----------------------------------------------------------------------------------------


def _work(dice: Dice, id: str, failing: float, empty: float = 0.08, crashing: float = 0.0) -> str:
    rest = dice.random.random()
    for rule, share in (("crashing", crashing), ("failing", failing), ("empty", empty)):
        if rest < share:
            return dice.source(rule, id)
        rest -= share
    return dice.source("work", id)


def _edges(dice: Dice) -> Plan:
    """Write a step with up to four edges of all sorts."""
    targets = ["b", "c", "d", "e"][: dice.random.randint(1, 4)]
    edges = {target: _edge(dice) for target in targets}
    first = _step("a", _work(dice, "a", failing=0.25), next=edges)
    if len(targets) == 1 and dice.under(0.2):
        first["next"] = "b"
    others = [_step(target, _work(dice, target, failing=0.1)) for target in targets]
    return _plan([first, *others], dice.choice(_INPUTS))


def _edge(dice: Dice) -> Any:
    rule = dice.random.choices(("condition", "throwing", "broken"), (90, 8, 2))[0]
    condition: Any = dice.source(rule, "")
    if dice.under(0.05):
        condition = dice.under(0.5)
    forms: Sequence[dict[str, Any]] = (
        {"condition": condition},
        {"condition": condition, "label": "l"},
        {"condition": condition, "disabled": dice.under(0.5)},
        {},
        {"label": "l"},
    )
    return condition if dice.under(0.5) else dice.choice(forms)


def _graph(dice: Dice, size: int, joins: bool, **work: float) -> list[Step]:
    """Write steps whose edges lead forward, with joins where wanted."""
    ids = [chr(ord("a") + index) for index in range(size)]
    steps = [_step(id, _work(dice, id, **work)) for id in ids]
    targeted: set[str] = set()
    for index, step in enumerate(steps):
        later = [id for id in ids[index + 1 :] if joins or id not in targeted]
        chosen = dice.random.sample(later, min(len(later), dice.choice((0, 1, 1, 2, 2, 3))))
        targeted.update(chosen)
        if chosen:
            step["next"] = {id: dice.under(0.1) or dice.source("simple", "") for id in chosen}
        if dice.under(0.3):
            step["name"] = f"Step {step['id']}"
        if dice.under(0.15):
            step["state"] = dice.choice(_DEFAULTS)
    return steps


def _joins(dice: Dice) -> Plan:
    steps = _graph(dice, dice.random.randint(3, 6), joins=True, failing=0.2)
    return _plan(steps, dice.choice(_INPUTS))


def _end(dice: Dice) -> Plan:
    steps = _graph(dice, dice.random.randint(2, 6), joins=dice.under(0.6), failing=0.2)
    ids = [*(step["id"] for step in steps)]
    options = {}
    if dice.under(0.85):
        options["end"] = "nowhere" if dice.under(0.03) else dice.choice(ids)
    if dice.under(0.35):
        options["start"] = "nowhere" if dice.under(0.03) else dice.choice(ids[:3])
    return _plan(steps, dice.choice(_INPUTS), **options)


def _plans(dice: Dice) -> Plan:
    """Write a plan of everything: crashes, defaults, globals, credentials, steps without ids."""
    size = dice.random.randint(2, 6)
    steps = _graph(dice, size, joins=True, failing=0.15, empty=0.1, crashing=0.08)
    plan, input = _plan(steps, dice.choice(_INPUTS))
    for step in steps:
        if dice.under(0.2):
            step["configuration"] = {"token": 4, "own": 1}
        if dice.under(0.3):
            step["expression"] = dice.source(dice.choice(("state", "operation", "compile")), "")
    if dice.under(0.3):
        plan["workflow"]["globals"] = GLOBALS
    if dice.under(0.3):
        plan["workflow"]["credentials"] = CREDENTIALS
    if dice.under(0.2):
        # Only a step that no edge names can be without an id.
        targets = {target for step in steps for target in step.get("next", ())}
        for step in steps:
            if step["id"] not in targets:
                del step["id"]
    return plan, input


_DATA: Final[Sequence[Any]] = (
    {"a": 1, "o": {"x": 1}},
    [],
    [1, 2],
    "",
    "text",
    0,
    5,
    None,
    False,
    True,
    {},
)
_DEFAULTS: Final[Sequence[dict[str, Any]]] = (
    {"data": {"d": 1, "o": {"z": 1}, "n": 0}}, {"data": [9]}, {"more": 1, "extra": "default"},
    {"configuration": {"d": 1}}, {"data": None}, {},
)  # fmt: skip


def _inputs(dice: Dice) -> Plan:
    """Write what a step's input is made of: upstream state, defaults and configuration."""
    input: dict[str, Any] = {"extra": 1} if dice.under(0.5) else {}
    if dice.under(0.8):
        input["data"] = dice.choice(_DATA)
    for key in ("configuration", "response", "references", "errors"):
        if dice.under(0.25):
            input[key] = {"from": 1}
    steps = [
        _step("a", dice.source("show", "a"), next={"b": "always"}),
        _step("b", dice.source("passed_on", "b"), next={"c": "always"}),
        _step("c", dice.source("show", "c")),
    ]
    for step in steps:
        if dice.under(0.5):
            step["state"] = dice.choice(_DEFAULTS)
        if dice.under(0.5):
            step["configuration"] = {"own": 3}
    plan, input = _plan(steps, input)
    if dice.under(0.4):
        plan["workflow"]["credentials"] = CREDENTIALS
    return plan, input


def _globals(dice: Dice) -> Plan:
    first = _step("a", dice.source("uses", "a"), next={"b": "always"})
    plan, input = _plan([first, _step("b", dice.source("uses", "b"))], INPUT)
    plan["workflow"]["globals"] = "" if dice.under(0.05) else dice.source("globals", "")
    return plan, input


PLANS: Final[dict[str, Callable[[Dice], Plan]]] = {
    "edges": _edges, "joins": _joins, "end": _end, "plans": _plans, "inputs": _inputs,
    "globals": _globals,
}  # fmt: skip
KINDS: Final = (*SOURCES, *PLANS)
