"""``worker test --flaky``: what depends on chance, on the clock or on delays is named."""

from __future__ import annotations

import json
import subprocess
import sys
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


@pytest.mark.slow
@pytest.mark.parametrize("kind", CASES)
def test_the_cause_of_a_difference_is_named(kind: str, tmp_path: Path) -> None:
    code, cause = CASES[kind]
    done = call_worker("test", write(tmp_path, code, {}), "--flaky", "9")
    # Without an expectation that it misses, a difference is only shown.
    assert done.returncode == 0
    assert (f"~ first\n    with {cause}" in done.stdout) is bool(cause)
    assert ("output.n" in done.stdout) is bool(cause)


@pytest.mark.slow
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
    assert "1 of 1 case fails" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("kind", CASES)
def test_a_run_is_varied_too(kind: str, tmp_path: Path) -> None:
    code, cause = CASES[kind]
    write(tmp_path, code, {})
    done = call_worker("run", tmp_path / "w.json", "--flaky", "9", "--quiet")
    assert done.returncode == 0, done.stderr
    assert (f"with {cause} (" in done.stdout) is bool(cause)
    assert done.stdout.endswith("9 variations of each kind: none of them ends otherwise\n")


@pytest.mark.slow
def test_another_end_is_the_exit_code_of_a_varied_run(tmp_path: Path) -> None:
    write(tmp_path, "fn(s => { if (new Date().getUTCDate() === 1) throw new Error('x'); })", {})
    done = call_worker("run", tmp_path / "w.json", "--flaky", "9", "--quiet")
    assert done.returncode == 1
    assert "✗ w, run " in done.stdout and "with another time (2027-03-01" in done.stdout
    done = call_worker("run", tmp_path / "w.json", "--flaky", "9", "--json")
    assert done.returncode == 2 and "leave out --record and --json" in done.stderr


@pytest.mark.slow
def test_pytest_varies_and_records_case_files(tmp_path: Path) -> None:
    file = write(tmp_path, CASES["clock"][0], {"state": {"n": 1}})
    content = json.loads(file.read_text("utf-8"))
    content["cases"] += [{"name": "second", "at": "2026-05-05T00:00:00Z", **content["cases"][0]}]
    content["cases"][1] |= {"name": "second"}
    file.write_text(json.dumps(content), "utf-8")
    options = ("--workflow-flaky", "9", "--workflow-record", str(tmp_path / "recordings"))
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(file)]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert "with another time (" in done.stdout, done.stdout
    assert "recorded " in done.stdout and len([*(tmp_path / "recordings").iterdir()]) == 1


def test_replies_of_one_rule_arrive_in_other_orders() -> None:
    case = replace(load_cases(ROOT / "graphs/referral.cases.yaml")[0], http=(Stub(replies=()),))
    varied = [each.http[0] for cause, _, each in variations(case, 8) if cause is Cause.DELAYS]
    orders = {tuple(sorted(range(3), key=stub.delay_of)) for stub in varied}
    assert len(orders) > 2


@pytest.mark.slow
def test_the_time_zone_of_the_machine_is_none_of_a_job_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "fn(s => ({ ...s, zone: [new Date(0).getTimezoneOffset(), String(new Date(0))] }))"
    file = write(tmp_path, code, {})
    outputs = set()
    for zone in ("UTC", "Pacific/Kiritimati"):
        monkeypatch.setenv("TZ", zone)
        outputs.add(call_worker("run", tmp_path / "w.json", "-q", "-O").stdout)
    assert len(outputs) == 1 and '"zone":[0,' in outputs.pop().replace(" ", "").replace("\n", "")
    assert call_worker("test", file).returncode == 0


def test_replies_are_delayed_and_moments_are_in_later_years_too() -> None:
    case = load_cases(ROOT / "graphs/referral.cases.yaml")[0]
    stubbed = replace(case, http=(Stub(replies=(), delay_s=1.0),))
    varied = list(variations(stubbed, 12))
    delays = [each.http[0].delay_of(3) for cause, _, each in varied if cause is Cause.DELAYS]
    moments = [each.begins_at_us for cause, _, each in varied if cause is Cause.CLOCK]
    assert len(set(delays)) == 12 and all(1 <= delay <= 4 for delay in delays)
    assert len(set(moments)) == 12
    assert not any(cause is Cause.DELAYS for cause, _, _ in variations(case, 2))
