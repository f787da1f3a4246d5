"""Parts of ``make diff-check`` and ``make fuzz-check``, which take minutes as a whole."""

from __future__ import annotations

import json

import pytest

from tests.support.helpers import job, workflow
from tools.diff_check import Verdicts, check_mutants, samples
from tools.fuzz_check import fuzz, plant
from tools.fuzz_samples import KNOWN, failures_of
from tools.fuzz_samples import samples as fuzzed_samples
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
def test_each_mutant_of_a_sample() -> None:
    verdicts = Verdicts()
    referral = next(sample for sample in samples() if sample.name == "Referral")
    check_mutants(referral, 4, verdicts)
    assert verdicts.wrong == []
    assert verdicts.told_apart == verdicts.mutants == 23


@pytest.mark.slow
def test_a_planted_defect_is_found() -> None:
    assert fuzz(plant(3), 3, inputs=32)


@pytest.mark.slow
def test_the_known_failures_of_a_sample_are_found() -> None:
    known = json.loads(KNOWN.read_text("utf-8"))
    by_name = {sample.name: sample for sample in fuzzed_samples()}
    assert known.keys() == by_name.keys()
    failures, _ = failures_of(by_name["visits"], 60, 1, inputs=100)
    # A third one takes some hundred inputs more.
    assert {"JobError at remind", "TypeError at find-missed"} <= failures <= set(known["visits"])


def test_a_job_that_does_not_compile_is_a_mistake_of_its_version() -> None:
    good, bad = workflow(job("fn(s => s);")), workflow(job("fn(s => {"))
    for versions, name in (((bad, good), "OLD"), ((good, bad), "NEW")):
        with pytest.raises(Exception, match=f"{name} cannot run: a: ") as raised:
            diff_workflows(*versions)
        assert type(raised.value).__name__ == "UsageError"
