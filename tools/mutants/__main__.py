"""Command line of the mutants: it prints the rate, and each mutant that no test noticed."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools.mutants.changes import Mutant, mutants
from tools.mutants.copied_tree import ROOT, CopiedTree
from tools.mutants.module_tests import ModuleTests
from tools.mutants.modules import TESTS

PER_MODULE = 40
RESULTS = ROOT / ".cache/mutants"
"""Folder with a file for each module: two modules can be run at once."""
EQUAL = Path(__file__).with_name("equal.json")
"""Mutants that behave as the code does, each with the reason."""
KILLED, SURVIVED, EQUAL_TO_CODE = "killed", "survived", "equal"


def main() -> int:
    """Run mutants, and exit with 1 if one survived."""
    parser = argparse.ArgumentParser(prog="python -m tools.mutants", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1200, help="such as 300 (default: 1200)")
    parser.add_argument("--seed", type=int, default=1, help="such as 7 (default: 1)")
    parser.add_argument("--module", action="append", choices=TESTS, help="such as core/machine")
    parser.add_argument("--each", type=int, default=PER_MODULE, help="mutants of a module")
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.seconds
    survivors = []
    print(f"{'module':<34}{'killed':>8}{'survived':>10}{'equal':>7}{'not run':>9}")
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = CopiedTree(Path(folder).resolve())
        tree.compile()
        for module in arguments.module or TESTS:
            source = tree.path(module).read_text("utf-8")
            chosen = mutants(module, source, arguments.each, arguments.seed)
            results = dict(_run(tree, chosen, end))
            survivors += [mutant for mutant in chosen if results.get(mutant) == SURVIVED]
            _print(module, Counter(results.values()), len(chosen) - len(results))
    for mutant in survivors:
        print(f"survived: {mutant.line} of {mutant.id}")
    return 1 if survivors else 0


def _print(module: str, counts: Counter[str], not_run: int) -> None:
    columns = counts[KILLED], counts[SURVIVED], counts[EQUAL_TO_CODE], not_run
    print(f"{module:<34}{columns[0]:>8}{columns[1]:>10}{columns[2]:>7}{columns[3]:>9}", flush=True)


def _run(tree: CopiedTree, chosen: Sequence[Mutant], end: float) -> Iterator[tuple[Mutant, str]]:
    """Yield the result of each mutant of one module, until the time is over."""
    equal = json.loads(EQUAL.read_text("utf-8"))
    module = chosen[0].module
    results = RESULTS / f"{module.replace('/', '.')}.json"
    known = json.loads(results.read_text("utf-8")) if results.exists() else {}
    texts = [(ROOT / test).read_text("utf-8") for test in TESTS[module]]
    tests: ModuleTests | None = None
    for mutant in chosen:
        key = _digest(mutant.source, *texts)
        if mutant.id in equal:
            yield mutant, EQUAL_TO_CODE
        elif key in known:
            yield mutant, known[key]
        elif time.monotonic() < end:
            tests = tests or ModuleTests(tree, module, TESTS[module])
            if tests.fail_unchanged:
                print(f"the tests of {module} fail without a change")
                break
            known[key] = SURVIVED if tests.pass_with(mutant.source, mutant.line) else KILLED
            results.parent.mkdir(parents=True, exist_ok=True)
            results.write_text(json.dumps(known), "utf-8")
            yield mutant, known[key]
    if tests:
        tests.close()


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:24]


if __name__ == "__main__":
    sys.exit(main())
