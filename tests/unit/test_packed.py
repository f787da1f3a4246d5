"""Plans and jobs on their way to another process."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

import worker
from worker.core.compile_plan import compile_plan
from worker.runner.prepare import compiled_job
from worker.util import packed
from worker.util.packed import Packed


def reread(value: Packed) -> Any:
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize(
    "state",
    [{}, {"a": [1, 2.5, None, True, {"b": "é𝄞"}]}, {"half": "\ud800"}, {"large": 2**80}],
    ids=["nothing", "values", "half a pair", "a large number"],
)
def test_a_plan_is_the_same_after_pickling(state: dict[str, Any]) -> None:
    steps = [
        {"id": "a", "adaptor": "http", "expression": "fn(s => s)", "state": state, "name": "A",
         "configuration": {"password": "p"}, "next": {"b": {"condition": "state.x", "label": "l"}}},
        {"id": "b", "adaptor": "common", "expression": "fn(s => s)"},
    ]  # fmt: skip
    plan = compile_plan(worker.load({"steps": steps}))
    copy = reread(plan)
    assert copy == plan and copy.steps[0].edges[0].kind is plan.steps[0].edges[0].kind


def test_a_job_is_the_same_after_pickling_and_shared_as_before() -> None:
    job = compiled_job("import { each } from '@openfn/language-common';\nfn(s => s.a.b());")
    assert reread(job) == job
    one, other = pickle.loads(pickle.dumps([job, job]))
    assert one is other


def test_the_parts_of_a_plan_are_not_pickled_one_by_one() -> None:
    """A plan of 100,000 steps took 3 seconds on its way to a runner."""
    steps = [{"id": f"s{number}", "expression": "fn(s => s)"} for number in range(100)]
    data = pickle.dumps(compile_plan(worker.load({"steps": steps})))
    assert b"worker.core.plan" in data and b"worker.workflow.model" not in data


def test_no_decoder_is_left_to_the_processes_that_are_forked() -> None:
    packed._decoder.cache_clear()
    packed.prepare_decoders()
    ahead = packed._decoder.cache_info().misses
    assert ahead == 2
    test_a_job_is_the_same_after_pickling_and_shared_as_before()
    test_a_plan_is_the_same_after_pickling({})
    assert packed._decoder.cache_info().misses == ahead
