"""``worker test --update``: a case states what was found, and its file stays what it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.acceptance.test_scenarios import command, suite
from worker.testing import load_cases, run_case, update_cases

TEXT = """\
# What a must do.
workflow: w.yaml

cases:
  - name: wrong   # on purpose
    steps:
      a: { returns: { data: { n: 1, m: [1, 2] }, kept: true } }
    expect:
      status: failed   # not so
      error_type: JobError
      path: [a, bad]
      state: { data: { n: 2, m: [1] }, gone: 1 }
      state_at: { $.data.n: 7 }
      never: [ok, bad]
      taken: [a->bad, a->ok]
      not_taken: [a->ok, a->bad]
      outputs: { a: { data: { n: 0 } }, bad: {} }
      logs: [never logged]
      runs: [{ status: failed }, {}]

  - name: right
    expect: { status: success }
"""


@pytest.mark.slow
def test_a_wrong_case_is_corrected_and_everything_else_stays(tmp_path: Path) -> None:
    file = suite(tmp_path, {"expect": {}})
    file.write_text(TEXT)
    done = command(str(file), "--update")
    assert done.returncode == 0 and "1 passed, 0 failed, 1 updated" in done.stdout, done.stdout
    assert "updated: wrong" in done.stdout
    text = file.read_text()
    assert "# What a must do." in text and "wrong   # on purpose" in text and "# not so" in text
    for stated in (
        "status: success",
        "path: [a, ok]",
        "state: {data: {n: 1, m: [1, 2]}}",
        "state_at: {$.data.n: 1}",
        "never: [bad]",
        "taken: [a->ok]",
        "not_taken: [a->bad]",
        "outputs: {a: {data: {n: 1}}}",
        "runs: [status: success]",
    ):
        assert stated in text.replace("{ ", "{").replace(" }", "}"), text
    assert "error_type" not in text and "logs" not in text
    assert "2 passed, 0 failed" in command(str(file)).stdout
    again = text
    assert command(str(file), "--update").returncode == 0 and file.read_text() == again


@pytest.mark.parametrize(
    ("steps", "expect", "found"),
    [
        ({"a": {"fails": "TypeError", "message": "no"}}, {"error_message": "yes"}, {"status": "success"}),
        ({"ok": {"fails": "TypeError", "message": "no"}}, {"error_message": "yes"}, {"error_message": "no"}),
        ({}, {"through": ["ok", "a"]}, {"through": ["a", "ok"]}),
        ({"a": {"returns": {"data": {}}}}, {"state_exact": {}}, {"state_exact": {"data": {}}}),
        ({"a": {"returns": {"data": {"maybe": 1}}}, "ok": {"0": {"returns": {"n": 0}}, "*": {"returns": {"n": 1}}}},
         {"outputs": {"ok": {"0": {"n": 5}, "1": {"n": 1}}}}, {"outputs": {"ok": {"0": {"n": 0}, "1": {"n": 1}}}}),
    ],
)  # fmt: skip
def test_what_is_stated_becomes_what_was_found(
    tmp_path: Path, steps: dict[str, Any], expect: dict[str, Any], found: dict[str, Any]
) -> None:
    source = suite(tmp_path, {"steps": steps, "expect": expect})
    file = tmp_path / "w.cases.json"
    file.write_text(json.dumps(yaml.safe_load(source.read_text())))
    assert update_cases(file, [run_case(case) for case in load_cases(file)]) == ["case 0"]
    assert json.loads(file.read_text())["cases"][0]["expect"] == found
    assert [run_case(case).mismatches for case in load_cases(file)] == [()]


def test_cases_of_a_matrix_are_left_to_their_author(tmp_path: Path) -> None:
    case = {"matrix": {"n": [1, 2]}, "timeout": "${n}", "expect": {"status": "failed"}}
    file = suite(tmp_path, case)
    before = file.read_text()
    done = command(str(file), "--update")
    assert done.returncode == 1 and "0 passed, 2 failed" in done.stdout
    assert file.read_text() == before
