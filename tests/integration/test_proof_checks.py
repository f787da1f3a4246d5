"""Parts of ``make diff-check`` and ``make fuzz-check``, which take minutes as a whole."""

from __future__ import annotations

import pytest

from tests.support.helpers import job, workflow
from tools.diff_check import Verdicts, check_mutants, generated, samples
from tools.fuzz_check import DEFECTS, is_found
from worker.testing import diff_workflows


def test_each_mutant_of_a_small_workflow_is_told_apart_or_equal() -> None:
    flow = workflow(
        job("fn(s => s);", next={"b": "true || state.data.n > 5"}), job("fn(s => s);", "b")
    )
    verdicts = Verdicts()
    check_mutants(flow, 10, verdicts)
    assert verdicts.wrong == []
    assert verdicts.told_apart and verdicts.equal


@pytest.mark.slow
def test_each_mutant_of_a_sample_and_of_a_generated_workflow() -> None:
    verdicts = Verdicts()
    triage = next(sample for sample in samples() if sample.name == "Triage")
    for flow in (triage, generated(3)):
        check_mutants(flow, 8, verdicts)
    assert verdicts.wrong == []
    assert verdicts.told_apart > 30


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(DEFECTS)), ids=list(DEFECTS))
def test_a_planted_defect_is_found(number: int) -> None:
    assert is_found(number, inputs=200)


def test_a_job_that_does_not_compile_is_a_mistake_of_its_version() -> None:
    good, bad = workflow(job("fn(s => s);")), workflow(job("fn(s => {"))
    for versions, name in (((bad, good), "OLD"), ((good, bad), "NEW")):
        with pytest.raises(Exception, match=f"{name} cannot run: a: ") as raised:
            diff_workflows(*versions)
        assert type(raised.value).__name__ == "UsageError"
