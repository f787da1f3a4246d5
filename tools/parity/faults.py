"""Self-check: faults that were mended are put back one at a time, and found again.

``python -m tools.parity --self-check`` runs the faulty code in a copy of the tree, against the
answers of OpenFn to sources that the faultless compiler wrote.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from msgspec import Struct

from tools.mutants.copied_tree import ROOT, CopiedTree
from tools.parity.compare import write_answers
from tools.parity.generate import programs
from tools.parity.openfn import OpenFn

RUNS: Final = 120


class Fault(Struct, frozen=True, kw_only=True):
    """A fault: the kind of program that shows it, and the text that it puts for another."""

    name: str
    kind: str
    file: str
    right: str
    wrong: str


_REALM: Final = "worker/sandbox/javascript/realm.js"
_RUNTIME: Final = "worker/sandbox/javascript/runtime.py"
FAULTS: Final = (
    Fault(
        name="state is no name in jobs", kind="state", file=_RUNTIME,
        right='"let state = $worker.state;" if "state" in job.free else ""', wrong='""',
    ),
    Fault(
        name="$ inside a call of $ is wrapped on its own", kind="compile",
        file="worker/compiler/operations.py",
        right="if walk.has_dollars and _hangs_on_state(walk, callee):", wrong="if False:",
    ),
    Fault(
        name="{...'ab'} is {}", kind="inputs", file=_REALM,
        right="const above = upstream ?? {};",
        wrong='const above = typeof upstream === "string" ? {} : (upstream ?? {});',
    ),
    Fault(
        name="jobs can name what adaptors can", kind="names", file=_REALM,
        right="(isPermissive || JOB_NAMES.includes(name))", wrong="true",
    ),
    Fault(
        name="an adaptor's error is written like the job's", kind="errors",
        file="worker/sandbox/javascript/error_entries.py",
        right="if thrown.is_error and is_adaptors and thrown.in_operation:", wrong="if False:",
    ),
    Fault(
        name="a step that writes its own error succeeds", kind="errors", file=_REALM,
        right="step.errored = hasError(result, step.id);", wrong="step.errored = false;",
    ),
    Fault(
        name="export {x as default} exports nothing", kind="compile",
        file="worker/compiler/top_level.py",
        right="self.exports |= dict(_exported(walk, clause))", wrong="pass",
    ),
    Fault(
        name="a lone CR ends no line", kind="compile", file="worker/compiler/compile_job.py",
        right="source = with_line_feeds(source)", wrong="pass",
    ),
    Fault(
        name="a missing named import is undefined", kind="compile", file=_REALM,
        right="if (missing === undefined) return exports;", wrong="return exports;",
    ),
    Fault(
        name="globals are ignored", kind="globals", file=_RUNTIME,
        right="frozenset(shared.exports) - _OWN_NAMES", wrong="frozenset()",
    ),
    Fault(
        name="credentials of the workflow are ignored", kind="inputs", file=_REALM,
        right="configuration: { ...credentials, ...above", wrong="configuration: { ...above",
    ),
    Fault(
        name="console writes JSON", kind="console", file=_REALM,
        right="values.map(inspect).join", wrong="values.map((v) => JSON.stringify(v)).join",
    ),
    Fault(
        name="errors of patterns name no value", kind="mistakes",
        file="worker/compiler/compile_job.py",
        right="sites=walk.sites.located(edited)", wrong="sites={}",
    ),
)  # fmt: skip


def find_faults(seed: int) -> int:
    """Print each fault and whether it is found; return 1 where one is not."""
    missed = 0
    with TemporaryDirectory() as folder:
        tree = CopiedTree(Path(folder))
        answers = _answers(Path(folder), seed)
        for fault in FAULTS:
            is_found = _is_found(fault, tree, Path(folder), answers[fault.kind], seed)
            print(f"{fault.name}: {'found' if is_found else 'NOT FOUND'}", flush=True)
            missed += not is_found
    return int(missed > 0)


def _answers(folder: Path, seed: int) -> dict[str, Path]:
    """Write OpenFn's answers for each kind that a fault needs."""
    files = {kind: folder / f"{kind}.json" for kind in sorted({fault.kind for fault in FAULTS})}
    with OpenFn() as openfn:
        for kind, file in files.items():
            write_answers(file, map(openfn.run, programs(seed, kind, RUNS)))
    return files


def _is_found(fault: Fault, tree: CopiedTree, folder: Path, answers: Path, seed: int) -> bool:
    source = (ROOT / fault.file).read_text("utf-8")
    assert source.count(fault.right) == 1, f"{fault.file} has not {fault.right!r} once"
    (folder / fault.file).write_text(source.replace(fault.right, fault.wrong), "utf-8")
    done = tree.run(
        "-m", "tools.parity", "--against", str(answers), "--kind", fault.kind,
        "--runs", str(RUNS), "--seed", str(seed),
    )  # fmt: skip
    (folder / fault.file).write_text(source, "utf-8")
    return done.returncode == 1 and "Traceback" not in done.stderr
