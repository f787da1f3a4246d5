"""The linter: each rule where it applies and where it does not, and how findings are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import ROOT, Done, call_worker
from worker.lint.checks import lint
from worker.runner.prepare import Options
from worker.sandbox.limits import Limits

COMMON = "@openfn/language-common@3.3.4"


def job(id: str, source: str = "fn(s => s);", **fields: Any) -> dict[str, Any]:
    return {"id": id, "adaptor": COMMON, "expression": source, **fields}


def codes(folder: Path, *steps: dict[str, Any], **fields: Any) -> set[str]:
    """The codes found in a workflow, less the notes on failures, which nearly all have."""
    file = folder / "w.json"
    file.write_text(json.dumps({"steps": steps, **fields}, indent=1))
    return {one.rule.code for one in lint(file)} - {"W003"}


def condition(folder: Path, expression: str) -> set[str]:
    """The codes found in a condition between the second and the third of three steps."""
    return codes(
        folder,
        job("first", next={"a": "always"}),
        job("a", next={"b": {"condition": expression}, "c": "on_job_failure"}),
        job("b"),
        job("c"),
    )


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("state.data.ok", set()),
        ("state.x.length > 0 && !state.errors", {"W004", "W006"}),
        ("!state.errors && state.x.length > 0", {"W006"}),
        ("state.x?.length > 0", set()),
        ("state.error", {"W005"}),
        ("state.errors", set()),
        ("!state.errors?.a", set()),
        ('!state.data.a === "Yes"', {"W007"}),
        ('!(state.data.a === "Yes")', set()),
        ("!state.data.a === !state.data.b", set()),
        ("state.(", {"W010"}),
        ("nope > 1", {"W004"}),
        ("() => false", {"W015"}),
        ("(function () { return false })", {"W015"}),
        ("(async () => false)()", {"W015"}),
        ("Promise.resolve(state).then(() => false)", {"W015"}),
        ("new Promise(() => {})", {"W015"}),
        ("!Promise.resolve(1)", {"W015"}),
        ("state.data.find((x) => x)", {"W004"}),
        ("(() => state.data.ok)()", set()),
        ("import('x')", {"W010"}),
    ],
)
def test_conditions(tmp_path: Path, expression: str, found: set[str]) -> None:
    assert condition(tmp_path, expression) == found


def test_a_condition_without_an_end_is_no_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brief = Options(limits=Limits(timeout_s=0.3, memory_mb=64))
    monkeypatch.setattr("worker.lint.probes.PROBE", brief)
    assert condition(tmp_path, "(() => { while (true) {} })()") == set()


def test_handled_errors_linger_only_where_one_can_have_been_handled(tmp_path: Path) -> None:
    first = job("a", next={"b": {"condition": "!state.errors"}})
    assert codes(tmp_path, first, job("b")) == set()


def test_a_step_that_nothing_reaches(tmp_path: Path) -> None:
    assert codes(tmp_path, job("a"), job("orphan")) == {"W001"}
    assert codes(tmp_path, job("a", next={"b": False}), job("b")) == {"W001"}


def test_a_disabled_edge_that_cuts_something_off(tmp_path: Path) -> None:
    disabled = {"condition": "always", "disabled": True}
    assert codes(tmp_path, job("a", next={"b": disabled}), job("b")) == {"W002"}
    other_way = job("a", next={"b": disabled, "c": True}), job("c", next="b"), job("b")
    assert codes(tmp_path, *other_way) == set()


@pytest.mark.parametrize(
    ("next", "unhandled"),
    [
        ({"b": "on_job_success"}, True),
        ({"b": "always"}, False),
        ({"b": "on_job_success", "c": "on_job_failure"}, False),
        ({"b": {"condition": "state.errors"}}, False),
        ({"b": {"condition": "!state.errors"}}, True),
        ({"b": {"condition": "on_job_failure", "disabled": True}, "c": "on_job_success"}, True),
    ],
)
def test_failures_that_no_edge_handles(
    tmp_path: Path, next: dict[str, Any], unhandled: bool
) -> None:
    file = tmp_path / "w.json"
    file.write_text(json.dumps({"steps": [job("a", next=next), job("b"), job("c")]}))
    assert ("W003" in {one.rule.code for one in lint(file)}) is unhandled


@pytest.mark.parametrize(
    ("adaptor", "unpinned"),
    [("@openfn/language-http@latest", True), ("common", True), ("@openfn/language-http", True), (COMMON, False), ("common@3.3.4", False)],
)  # fmt: skip
def test_adaptors_without_a_version(tmp_path: Path, adaptor: str, unpinned: bool) -> None:
    assert ("W008" in codes(tmp_path, job("a", adaptor=adaptor))) is unpinned


@pytest.mark.parametrize(
    ("source", "undeclared"),
    [
        ("fn(s => ({ ...s, n: kilos }));", True),
        ("const kilos = 1; fn(s => ({ ...s, n: kilos }));", False),
        (
            "fn(s => { console.log(JSON.stringify(s), Buffer.from('x'), _.chunk([1], 1)); return s; });",
            False,
        ),
        ("get('x');", True),
    ],
)
def test_names_that_nobody_declares(tmp_path: Path, source: str, undeclared: bool) -> None:
    assert ("W009" in codes(tmp_path, job("a", source))) is undeclared


def test_a_step_without_an_adaptor_is_named_as_the_cause(tmp_path: Path) -> None:
    file = tmp_path / "w.json"
    file.write_text(json.dumps({"steps": [{"id": "a", "expression": "fn(s => s)"}]}))
    assert [entry.message for entry in lint(file) if entry.rule.code == "W009"] == [
        "'a' uses 'fn', which is not declared (the step names no adaptor: "
        "adaptor: '@openfn/language-common')"
    ]


def test_another_adaptors_functions_are_taken_on_trust(tmp_path: Path) -> None:
    http = "@openfn/language-http@7.2.10"
    assert codes(tmp_path, job("a", "get('x', kilos);", adaptor=http)) == {"W009", "W022"}
    assert codes(tmp_path, job("a", "http.get('x', util.attr('y'));", adaptor=http)) == {"W022"}
    assert codes(tmp_path, job("a", "get('x');", adaptor=http)) == {"W022"}
    assert codes(tmp_path, job("a", "http.get('x');")) == {"W022"}
    assert codes(tmp_path, job("a", "collections.get('x', 'y');")) == set()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("parseCsv($.data)", "'a' uses 'parseCsv', which the built-in common does not have"),
        ("fn(s => http.get('x')(s))", "'a' uses 'http', which the built-in common does not have"),
        ("fn(s => s)", None),
    ],
)
def test_functions_that_only_the_published_common_has(
    tmp_path: Path, source: str, message: str | None
) -> None:
    file = tmp_path / "w.json"
    file.write_text(json.dumps({"steps": [job("a", source)]}))
    messages = [finding.message for finding in lint(file) if finding.rule.code == "W022"]
    assert messages == ([message] if message else [])


@pytest.mark.parametrize(
    "steps",
    [
        [job("a", next="b"), job("b", next="a")],
        [job("a", "fn(s => {")],
        [job("a", next={"z": True})],
    ],
    ids=["cycle", "syntax", "unknown target"],
)
def test_what_cannot_run(tmp_path: Path, steps: list[dict[str, Any]]) -> None:
    assert "W010" in codes(tmp_path, *steps)


YAML = """steps:
- id: a
  adaptor: common@1
  expression: fn(s => s);
  next:
    b: {condition: state.error}%s
- {id: b, adaptor: common@1, expression: fn(s => s);}
"""


@pytest.mark.parametrize(
    ("comment", "found"),
    [
        ("", {"W005"}),
        ("  # worker-lint: ignore W005 -- the old name, kept on purpose", set()),
        ("  # worker-lint: ignore W005, W004 -- both", set()),
        ("  # worker-lint: ignore W004 -- another one", {"W005"}),
        ("  # worker-lint: ignore W005", {"W000", "W005"}),
    ],
)
def test_a_comment_with_a_reason_takes_a_finding_back(
    tmp_path: Path, comment: str, found: set[str]
) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(YAML % comment)
    assert {one.rule.code for one in lint(file)} - {"W003"} == found


def test_findings_have_their_place_in_yaml_and_json(tmp_path: Path) -> None:
    yaml = tmp_path / "w.yaml"
    yaml.write_text(YAML % "")
    (found,) = (one for one in lint(yaml) if one.rule.code == "W005")
    assert (found.line, found.column) == (6, 8)
    steps = [job("a", next={"b": {"condition": "state.error"}}), job("b")]
    file = tmp_path / "w.json"
    file.write_text(json.dumps({"steps": steps}, indent=2))
    places = {one.rule.code: one.line for one in lint(file)}
    assert '"b": {' in file.read_text().splitlines()[places["W005"] - 1]


def command(*arguments: str) -> Done:
    return call_worker("lint", *arguments, cwd=ROOT)


def test_the_samples_are_clean() -> None:
    files = [
        f"graphs/{name}"
        for name in (
            "referral.yaml",
            "router.yaml",
            "join.json",
            "cron-sync.yaml",
            "triage.yaml",
            "vaccination.yaml",
        )
    ]
    done = command(*files)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_command_writes_every_format() -> None:
    text = command("graphs/aborts.yaml")
    assert text.returncode == 1 and "error W009 undeclared-variable" in text.stdout
    lines = [
        json.loads(line)
        for line in command("graphs/aborts.yaml", "--format", "json").stdout.splitlines()
    ]
    assert {line["code"] for line in lines} >= {"W004", "W009", "W010"}
    sarif = json.loads(command("graphs/aborts.yaml", "--format", "sarif").stdout)
    assert sarif["version"] == "2.1.0" and len(sarif["runs"][0]["results"]) == len(lines)
    assert (
        "::error file=graphs/aborts.yaml,line="
        in command("graphs/aborts.yaml", "--format", "github").stdout
    )


@pytest.mark.parametrize(("level", "code"), [("note", 1), ("warning", 0), ("error", 0)])
def test_the_exit_code_follows_the_severity_that_is_asked_for(level: str, code: int) -> None:
    assert command("graphs/referral.yaml", "--fail-on", level).returncode == code


def test_an_unreadable_file_is_said_in_a_line() -> None:
    done = command("nowhere.yaml")
    assert done.returncode == 2 and "there is no such file" in done.stderr
