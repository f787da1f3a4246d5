"""``worker test --flaky``: what depends on chance, on the clock or on delays is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import ROOT, call_worker
from worker.adaptors.http.stub_host import Stub
from worker.testing.case_reader import load_cases
from worker.testing.flaky import Cause, variations

CASES: dict[str, tuple[str, str]] = {
    "chance": ("fn(s => ({...s, n: Math.random() < 0.5 ? 1 : 2}))", "other random numbers"),
    "clock": ("fn(s => ({...s, n: new Date().getDate() === 1 ? 1 : 2}))", "another time"),
    "nothing": ("fn(s => ({...s, n: [3, 1].sort()[0]}))", ""),
}


def write(folder: Path, code: str, expect: dict[str, Any]) -> Path:
    steps = [{"id": "a", "adaptor": "common@1", "expression": code}]
    workflow = {"workflow": {"name": "w", "steps": steps}}
    (folder / "w.json").write_text(json.dumps(workflow), "utf-8")
    file = folder / "w.cases.json"
    case = {"name": "first", "expect": {"status": "success", **expect}}
    file.write_text(json.dumps({"workflow": "w.json", "cases": [case]}), "utf-8")
    return file


@pytest.mark.parametrize("kind", CASES)
def test_the_cause_of_a_difference_is_named(kind: str, tmp_path: Path) -> None:
    code, cause = CASES[kind]
    done = call_worker("test", write(tmp_path, code, {}), "--flaky", "9")
    # Without an expectation that it misses, a difference is only shown.
    assert done.returncode == 0
    assert (f"~ first\n    with {cause}" in done.stdout) is bool(cause)
    assert ("output.n" in done.stdout) is bool(cause)


def test_an_expectation_that_chance_decides_fails(tmp_path: Path) -> None:
    code, cause = CASES["chance"]
    file = write(tmp_path, code, {})
    value = next(
        value
        for value in (1, 2)
        if not call_worker("test", write(tmp_path, code, {"state": {"n": value}})).returncode
    )
    write(tmp_path, code, {"state": {"n": value}})
    done = call_worker("test", file, "--flaky", "9")
    assert done.returncode == 1
    assert f"✗ first\n    with {cause}" in done.stdout
    assert "1 of 1 cases fail" in done.stdout


def test_replies_are_delayed_and_moments_are_in_later_years_too() -> None:
    case = load_cases(ROOT / "graphs/referral.cases.yaml")[0]
    stubbed = replace(case, http=(Stub(replies=(), delay_s=1.0),))
    varied = list(variations(stubbed, 12))
    delays = [each.http[0].delay_s for cause, _, each in varied if cause is Cause.DELAYS]
    moments = [each.begins_at_us for cause, _, each in varied if cause is Cause.CLOCK]
    assert len(set(delays)) == 12 and all(1 <= delay <= 4 for delay in delays)
    assert len(set(moments)) == 12
    assert not any(cause is Cause.DELAYS for cause, _, _ in variations(case, 2))
