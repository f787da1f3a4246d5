"""Programs that differ on purpose. Each shows a row of the table in ``from-openfn.md``."""

from __future__ import annotations

from typing import Final

from tools.parity.generate import COMMON, INPUT
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
        "a function assigned to a property (`s.f = () => ...`) that throws",
        "fn(s => { s.f = () => { throw new Error('x'); }; return s.f(); });",
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
