"""Everyday tests of one module: those that execute a line run first, the fastest of them before."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from tools.mutants.copied_tree import CopiedTree

SLOWEST = 5.0
"""Times of the unchanged module's tests, after which a mutant counts as a hang."""
LEAST_S = 15.0
OBSERVED_S = 400.0


class ModuleTests:
    """Tests of a module in a copy of the tree, with the process that runs them."""

    def __init__(self, tree: CopiedTree, module: str, tests: Sequence[str]) -> None:
        self._tree, self._module, self._tests = tree, module, list(tests)
        self._forks = tree.forks()
        observed = self._request({"observe": str(tree.path(module)), "limit_s": OBSERVED_S})
        began = time.monotonic()
        # Once more, as a mutant is tested: whatever fails there would count as killed.
        again = self._request({"first": [], "limit_s": OBSERVED_S})
        self.fail_unchanged = not (observed["passed"] and again["passed"])
        self._limit_s = max(LEAST_S, SLOWEST * (time.monotonic() - began))
        self._seconds: dict[str, float] = observed.get("seconds", {})
        lines = observed.get("lines", {})
        self._lines: dict[int, list[str]] = {int(line): tests for line, tests in lines.items()}

    def pass_with(self, source: str, line: int) -> bool:
        """Return True if all tests pass with another source of the module, changed in a line."""
        original = self._tree.path(self._module).read_text("utf-8")
        self._tree.write(self._module, source)
        try:
            first = self._first(line)
            return bool(self._request({"first": first, "limit_s": self._limit_s})["passed"])
        finally:
            self._tree.write(self._module, original)

    def _first(self, line: int) -> list[str]:
        """Return the tests that execute a line, the fastest before."""
        # A part of a statement may have no line of its own.
        executed = [at for at in self._lines if at <= line]
        tests = self._lines[max(executed)] if executed else []
        return sorted(tests, key=lambda test: self._seconds.get(test, 0.0))

    def _request(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._forks.stdin and self._forks.stdout
        self._forks.stdin.write(json.dumps({**request, "tests": self._tests}) + "\n")
        self._forks.stdin.flush()
        return dict(json.loads(self._forks.stdout.readline()))

    def close(self) -> None:
        """End the process."""
        self._forks.communicate()
