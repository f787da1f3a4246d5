"""The comparison with OpenFn: its programs, its observations and its documents."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tools.parity.compare import differences
from tools.parity.documented import COLUMNS, DEFERRED, ROWS, WITH_KIT, WORDS, row_of
from tools.parity.faults import FAULTS
from tools.parity.generate import KINDS, programs
from tools.parity.modules import module_of
from tools.parity.observation import Observation, observed_there

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/how-to/from-openfn.md").read_text("utf-8")


@pytest.mark.parametrize(
    "title", [*(title for title, _ in (*ROWS, *WITH_KIT)), COLUMNS, DEFERRED, WORDS]
)
def test_each_difference_on_purpose_is_documented(title: str) -> None:
    assert re.search(rf"^\| {re.escape(title)}(?: \(.*\))? \|", DOCUMENT, re.MULTILINE)


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_the_same_programs(kind: str) -> None:
    first, again = (list(programs(7, kind, 5)) for _ in range(2))
    assert first == again
    assert first != list(programs(8, kind, 5))


def test_every_fault_of_the_self_check_can_be_put_back() -> None:
    assert len(FAULTS) >= 10
    for fault in FAULTS:
        assert (ROOT / fault.file).read_text("utf-8").count(fault.right) == 1, fault.name


def test_a_module_maps_its_lines_to_the_source() -> None:
    step = {"id": "a", "expression": "const é = 1;\nfn(s => s.é);", "name": "A step"}
    module = module_of(step, {"fn", "each"})
    assert module["module"].startswith('import { fn } from "@openfn/language-common";')
    assert module["sourceMap"]["sources"] == ["A step.js"]
    assert module["sourceMap"]["operations"] == [{"line": 2, "order": 1, "name": "fn"}]


def test_an_answer_has_the_status_of_its_leaves() -> None:
    error = {"name": "JobError", "subtype": None, "message": "x", "severity": "fail"}
    a: dict[str, Any] = {"step": "a", "error": error, "next": ["b"], "state": {"errors": {"a": {}}}}
    b: dict[str, Any] = {"step": "b", "error": None, "next": [], "state": {}}
    answer: dict[str, Any] = {"started": ["a", "b"], "steps": [a, b], "lines": [], "error": None, "final": {}, "escaped": []}  # fmt: skip
    handled = observed_there(answer)
    failed = observed_there({**answer, "started": ["a"], "steps": [{**a, "next": []}]})
    assert (handled.status, failed.status) == ("success", "failed")
    assert [json.loads(step.state or "") for step in handled.path] == [a["state"], {}]
    assert next(differences(handled, failed)) == "status: success here, failed there"


def test_the_place_of_a_deferred_operation_is_the_compilers() -> None:
    program = next(programs(1, "plans", 1))
    here = Observation(path=(), final='{"line": 1, "operationName": "defer", "message": "x"}')
    there = Observation(path=(), final='{"line": -1, "operationName": "_defer", "message": "x"}')
    assert row_of(program, here, there) == DEFERRED
    other = Observation(path=(), final='{"line": -1, "operationName": "_defer", "message": "y"}')
    assert row_of(program, here, other) != DEFERRED


def test_the_step_that_end_stopped_at_is_a_leaf() -> None:
    def seen(step: str, next: list[str], state: Any) -> dict[str, Any]:
        return {"step": step, "error": None, "next": next, "state": state}

    steps = [
        seen("a", ["b", "c"], {"x": 1}),
        seen("b", [], {"data": {}}),
        seen("c", ["b"], {"y": 1}),
    ]
    answer: dict[str, Any] = {"started": ["a", "b", "c"], "steps": steps, "lines": [], "error": None, "escaped": []}  # fmt: skip
    final = observed_there({**answer, "final": {"b": {"data": {}}, "c": {"y": 1}}}).final
    assert json.loads(final or "") == {"c": {"y": 1}}
