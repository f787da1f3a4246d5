"""A test of the samples' cases: they notice each change of an edge or a condition."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.cli.mutation_report import mutate
from worker.testing.case_reader import load_cases

GRAPHS = Path(__file__).parents[2] / "graphs"
SUITES = sorted(GRAPHS.glob("*.cases.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("suite", SUITES, ids=[suite.name for suite in SUITES])
def test_the_cases_of_a_sample_notice_every_mutant(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A cache of its own: no mutant counts because an earlier run killed it.
    monkeypatch.setattr("worker.cli.mutation_report.root", lambda: tmp_path)
    assert mutate(load_cases(suite), jobs=1, target=None) == 100


def test_every_sample_has_cases() -> None:
    samples = {file.name.partition(".")[0] for file in GRAPHS.glob("*.input.json")}
    assert {suite.name.partition(".")[0] for suite in SUITES} == samples
