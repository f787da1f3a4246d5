"""Differences on purpose: rows of the table in ``from-openfn.md``, and what shows them."""

from __future__ import annotations

import re
from typing import Final

from tools.parity.generate import COMMON, INPUT
from tools.parity.observation import Observation
from tools.parity.programs import Program

# The first column of the row, and a job that differs.
ROWS: Final = (
    (
        "ReferenceError, SyntaxError or `eval` in a *named* function",
        "const check = () => undeclared;\nfn(s => check());",
    ),
    (
        "`severity: 'crash'` on a thrown error",
        "fn(() => { throw Object.assign(new Error('x'), { severity: 'crash' }); });",
    ),
    (
        "`op().then(f).catch(g)` after a synchronous throw of `op`",
        "fn(() => { throw new Error('x'); }).then(s => s).catch(() => ({ data: 'caught' }));",
    ),
    (
        "`op().catch(g).then(f)` after a synchronous throw",
        "fn(() => { throw new Error('x'); }).catch((e, s) => s).then(s => ({ ...s, then: 1 }));",
    ),
    (
        "an anonymous function that is called as a method (`items.map(f, this_value)`, "
        "`list[0]()`) and throws",
        "fn(s => { s.data.items.map(() => { throw new Error('x'); }, s); return s; });",
    ),
    (
        "a failed step that has a list as its `errors`",
        "fn(s => { s.errors = []; throw new Error('x'); });",
    ),
    ("BigInt in the state", "fn(s => ({ ...s, big: 10n ** 20n }));"),
    (
        "`WebAssembly`, `Atomics`, `SharedArrayBuffer`",
        "fn(s => ({ ...s, type: typeof WebAssembly + typeof Atomics }));",
    ),
    (
        "a change of the language's own objects (`Array.prototype.last = ...`)",
        "fn(s => { Array.prototype.last = 1; return s; });",
    ),
    ("a promise in a log line", "fn(s => { console.log(Promise.resolve(1)); return s; });"),
    (
        "`console.table`, `trace`, `group`, `assert`, `time`, `count`",
        "fn(s => { console.table([1]); return s; });",
    ),
)


def documented() -> list[Program]:
    """Return a program for each row."""
    return [
        Program(
            kind="documented",
            number=number,
            plan={"workflow": {"steps": [{"id": "a", "adaptor": COMMON, "expression": source}]}},
            input=INPUT,
            difference=title,
        )
        for number, (title, source) in enumerate(ROWS)
    ]


# With OpenFn's own compiler: the first column of the row, and the sources that it explains.
WITH_KIT: Final = (
    (
        "a method of `$` in an argument (`fnIf($.tags.includes($.want), ...)`)",
        re.compile(r"\$[\w.?'\[\]]*\.\w+\("),
    ),
    ("`export { operations as default }`", re.compile(r"\bas default\b")),
    ("operations after `export default [...]`", re.compile(r"^export default \[.*\];\n\w")),
    ("`10n`, private members of classes", re.compile(r"\b\d+n\b|#\w")),
)
WORDS: Final = "the words of an error of syntax"
COLUMNS: Final = "the column of an error after a blank"
DEFERRED: Final = (
    "`line` and `operationName` of an error inside `op().then(f)`, in a named function"
)
_COLUMN: Final = re.compile(r'"column": (\d+)')
_DEFERRED: Final = re.compile(r'"line": -?\d+, "operationName": "_?defer"')


def row_of(program: Program, here: Observation, there: Observation) -> str:
    """Return the row that explains a difference with OpenFn's compiler, or ``""``."""
    if here.error and there.error and here.error[0] == there.error[0] == "SyntaxError":
        return WORDS
    if _without_columns(here) == _without_columns(there):
        return COLUMNS
    if _without_places(here) == _without_places(there):
        return DEFERRED
    # A compiler that fails, or a step that does, is no silent difference.
    sources = [step.get("expression", "") for step in program.steps]
    rows = (title for title, pattern in WITH_KIT if any(map(pattern.search, sources)))
    return next(rows, "")


def _without_places(observation: Observation) -> str:
    """Write an observation without the places of deferred operations."""
    return _DEFERRED.sub('"operationName": "defer"', _without_columns(observation))


def _without_columns(observation: Observation) -> str:
    """Write an observation without the numbers of its columns."""
    text = " ".join(map(str, (observation.path, observation.final, observation.log)))
    return _COLUMN.sub('"column"', text)
