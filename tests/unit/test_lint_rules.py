"""The rules of the linter over examples: those of the documentation, and their neighbours."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import ROOT, call_worker
from worker.adaptors.cache import Adaptor
from worker.lint.checks import lint
from worker.lint.rules import RULES

COMMON = "@openfn/language-common@3.3.4"
EXAMPLES = [
    json.loads(line) for line in (ROOT / "tests/data/lint-examples.jsonl").read_text().splitlines()
]
DOCUMENTED = re.findall(
    r"^## (W\d+) \S+\n.*?^```(\S+)( title=\"condition\")?\n(.*?)^```",
    (ROOT / "docs/how-to/lint.md").read_text(),
    re.MULTILINE | re.DOTALL,
)


def step(id: str, source: str = "fn(s => s)", **fields: Any) -> dict[str, Any]:
    return {"id": id, "adaptor": COMMON, "expression": source, **fields}


def with_condition(expression: str) -> list[dict[str, Any]]:
    return [step("a", next={"b": {"condition": expression}}), step("b")]


def codes(file: Path) -> list[str]:
    """The codes found, less those that the plain workflows around an example have."""
    return [finding.rule.code for finding in lint(file)]


def codes_of(folder: Path, steps: list[dict[str, Any]], *ignored: str) -> set[str]:
    file = folder / "w.json"
    file.write_text(json.dumps({"steps": steps}))
    return {*codes(file)} - {*ignored}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The codes of every example, by the name of its workflow: one project has them all."""
    workflows = [
        {"id": f"w{number}", "steps": [step("a", example["job"])]}
        if "job" in example
        else {"id": f"w{number}", "steps": with_condition(example["condition"])}
        for number, example in enumerate(EXAMPLES)
    ]
    file = tmp_path_factory.mktemp("lint") / "p.json"
    file.write_text(json.dumps({"schema_version": "4.0", "workflows": workflows}, indent=1))
    lines = file.read_text().splitlines()
    starts = [index for index, line in enumerate(lines, 1) if re.search(r'"id": "w\d+"', line)]
    codes: dict[str, set[str]] = {f"w{number}": set() for number in range(len(EXAMPLES))}
    for finding in lint(file):
        number = sum(start <= finding.line for start in starts) - 1
        codes[f"w{number}"].add(finding.rule.code)
    return codes


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_has_its_findings_and_no_others(found: dict[str, set[str]], number: int) -> None:
    # Whether a failure is handled, or a condition throws after one, is another question.
    assert found[f"w{number}"] - {"W003", "W004"} == {*EXAMPLES[number]["codes"]}, EXAMPLES[number]


def test_every_rule_has_an_example_in_the_documentation() -> None:
    assert [code for code, *_ in DOCUMENTED] == [rule.code for rule in RULES]


@pytest.mark.parametrize(
    ("code", "language", "condition", "text"), DOCUMENTED, ids=[code for code, *_ in DOCUMENTED]
)
def test_the_documented_example_is_found(
    tmp_path: Path, code: str, language: str, condition: str, text: str
) -> None:
    if language == "yaml":
        (tmp_path / "w.yaml").write_text(text)
        assert code in codes(tmp_path / "w.yaml")
    else:
        text = text.strip()
        assert code in codes_of(tmp_path, with_condition(text) if condition else [step("a", text)])


# --- the file -------------------------------------------------------------------------------------

MISSPELT = [
    ("boody", "jobs: {a: {adaptor: common@3.3.4, boody: fn(s => s)}}"),
    ("adaptr", "jobs: {a: {adaptr: common, body: fn(s => s)}}"),
    ("enable", "jobs: {a: {body: x}, b: {body: x}}\nedges: {e: {source_job: a, target_job: b, enable: false}}"),
    ("expresion", "steps: [{id: a, expresion: fn(s => s)}]"),
    ("conditon", "steps: [{id: a, expression: x, next: {b: {conditon: false}}}, {id: b, expression: x}]"),
    ("stepz", "steps: [{id: a, expression: x}]\nstepz: []"),
    ("typ", "jobs: {a: {body: x}}\ntriggers: {t: {typ: cron}}"),
    ("run_timout_ms", "steps: [{id: a, expression: x}]\noptions: {run_timout_ms: 5}"),
    ("statePropsToRemove", "steps: [{id: a, expression: x}]\noptions: {statePropsToRemove: [x]}"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("key", "text"), MISSPELT, ids=[key for key, _ in MISSPELT])
@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_a_misspelt_key_is_found_with_its_line(
    tmp_path: Path, key: str, text: str, suffix: str
) -> None:
    import yaml

    file = tmp_path / f"w{suffix}"
    file.write_text(text if suffix == ".yaml" else json.dumps(yaml.safe_load(text), indent=1))
    line = next(n for n, line in enumerate(file.read_text().splitlines(), 1) if key in line)
    places = {f.line for f in lint(file) if f.rule.code == "W011" and f"'{key}'" in f.message}
    assert places == {line}
    done = call_worker("validate", file)
    assert done.returncode == 2 and f"{file}:{line}:" in done.stderr


@pytest.mark.parametrize(
    ("trigger", "expected"),
    [
        ("type: webhook", set()),
        ("type: kafka", set()),
        ("type: webhok", {"W013"}),
        ("type: manual", {"W013"}),
        ("type: cron, cron_expression: '0 6 * * 1-5'", set()),
        ("type: cron, cron_expression: '*/15 * * * MON'", set()),
        ("type: cron, cron_expression: '@daily'", set()),
        ("type: cron, cron_expression: '61 * * * *'", {"W014"}),
        ("type: cron, cron_expression: '61 * * * * banana'", {"W014"}),
        ("type: cron, cron_expression: '0 0 6 * * *'", {"W014"}),
        ("type: cron, cron_expression: daily", {"W014"}),
        ("type: cron", set()),
    ],
)
def test_triggers(tmp_path: Path, trigger: str, expected: set[str]) -> None:
    file = tmp_path / "w.yaml"
    file.write_text(
        f"triggers: {{t: {{{trigger}}}}}\njobs: {{a: {{adaptor: common@3.3.4, body: fn(s => s)}}}}\n"
        "edges: {e: {source_trigger: t, target_job: a}}"
    )
    assert {*codes(file)} == expected


# --- lingering errors -----------------------------------------------------------------------------

LINGER = {"condition": "!state.errors"}


@pytest.mark.parametrize(
    ("steps", "lingers"),
    [
        # The failure ends in a step that leads nowhere.
        ({"a": {"b": "on_job_success", "oops": "on_job_failure"}, "b": {"c": LINGER}}, False),
        ({"a": {"b": "always"}, "b": {"c": LINGER}}, True),
        ({"a": {"b": "on_job_success", "oops": "on_job_failure"}, "oops": {"b": True}, "b": {"c": LINGER}}, True),
        ({"a": {"b": "on_job_failure"}, "b": {"c": LINGER}}, True),
        ({"a": {"b": "on_job_success"}, "b": {"c": LINGER}}, False),
        ({"a": {"b": {"condition": "on_job_failure", "disabled": True}, "x": True}, "b": {"c": LINGER}}, False),
        ({"a": {"b": {"condition": "state.errors"}}, "b": {"c": LINGER}}, True),
        ({"a": {"b": {"condition": "!state.errors"}}, "b": {"c": LINGER}}, False),
        ({"a": {"c": LINGER}}, False),
    ],
)  # fmt: skip
def test_errors_linger_only_where_the_graph_leads_them(
    tmp_path: Path, steps: dict[str, Any], lingers: bool
) -> None:
    names = dict.fromkeys([*steps, *(target for next in steps.values() for target in next)])
    workflow = [step(name, next=steps.get(name, {})) for name in names]
    assert ("W006" in codes_of(tmp_path, workflow)) is lingers


# --- adaptors -------------------------------------------------------------------------------------


def test_a_function_that_an_installed_adaptor_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = Adaptor(
        name="@openfn/language-http", version="7.2.10", sha256="", integrity="", licence="",
        size=1, exports=("get", "post", "fn"), overrides={}, toolchain="",
    )  # fmt: skip
    monkeypatch.setattr("worker.lint.checks.choose_adaptors", lambda workflow: {"http": installed})
    file = tmp_path / "w.json"
    job = {"id": "a", "adaptor": "http", "expression": "get('x'); fn(s => s); gett('y')"}
    file.write_text(json.dumps({"steps": [job]}))
    (message,) = [f.message for f in lint(file) if f.rule.code == "W009"]
    assert message == (
        "'a' uses 'gett', which is not declared, and http has no such function; did you mean 'get'?"
    )


# --- files ----------------------------------------------------------------------------------------


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A folder of workflows, cases and other files."""
    flow = {"steps": [{"id": "a", "adaptor": "common", "expression": "fn(s => s)"}]}
    (tmp_path / "deep" / "node_modules").mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    for name in ("w.json", "deep/v.yaml", "deep/node_modules/x.json", ".hidden/y.json"):
        (tmp_path / name).write_text(json.dumps(flow))
    (tmp_path / "w.cases.yaml").write_text("workflow: w.json\ncases: []\n")
    (tmp_path / "input.json").write_text('{"data": {}}')
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "values.yaml").write_text("a: {{ template }}\n")
    (tmp_path / "notes.md").write_text("# notes")
    (tmp_path / "record.json").write_text('{"name": "Pedro", "workflow": "new"}')
    return tmp_path


@pytest.mark.parametrize("paths", [(".",), ("*.json", "deep"), ("**/*.*",), ("w.json", "deep/v.yaml", "w.cases.yaml", "input.json")])  # fmt: skip
@pytest.mark.parametrize("command", ["lint", "validate"])
def test_folders_patterns_and_mixed_files(
    mixed: Path, paths: tuple[str, ...], command: str
) -> None:
    done = call_worker(command, *paths, cwd=mixed)
    assert done.stderr == ""
    places = done.stdout.splitlines()
    assert len(places) == 2 and done.returncode == (1 if command == "lint" else 0), done.stdout


def test_a_broken_workflow_does_not_hide_the_findings_of_others(mixed: Path) -> None:
    (mixed / "broken.yaml").write_text("steps:\n  - id: [\n")
    for command in ("lint", "validate"):
        done = call_worker(command, ".", cwd=mixed)
        assert done.returncode == 2 and "broken.yaml:" in done.stderr
        assert "w.json" in done.stdout or "could run" in done.stdout


def test_a_folder_without_workflows_is_an_error(tmp_path: Path) -> None:
    done = call_worker("lint", tmp_path)
    assert done.returncode == 2 and ": there are no workflows" in done.stderr
