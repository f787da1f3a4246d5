"""Loading of workflows: every format, selection of a workflow, start and limits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import worker
from tests.support.workflow_files import edges_of, write_file
from worker.errors import LoadError, UsageError
from worker.workflow.model import EdgeKind, Language, StepKind

V3 = """
name: clinic
workflows:
  referral:
    name: Case referral
    jobs:
      fetch patient/1:
        name: Fetch [patient]
        adaptor: '@openfn/language-http@7.2.10'
        credential: user@clinic-emr
        body: get($.data.url)
      alert:
        adaptor: '@openfn/language-common@latest'
        body: {path: ./alert.js}
    triggers:
      webhook: {type: webhook, enabled: true}
      cron: {type: cron, enabled: false}
    edges:
      webhook->fetch:
        source_trigger: webhook
        target_job: fetch patient/1
        condition_type: always
        enabled: true
      fetch->alert:
        source_job: fetch patient/1
        target_job: alert
        condition_type: js_expression
        condition_expression: state.errors && !state.ok
        condition_label: it went wrong
  on:
    jobs: {a: {body: fn(s => s)}}
"""


# --- formats --------------------------------------------------------------------------------------


def test_project_version_3(tmp_path: Path) -> None:
    write_file(tmp_path, "fn(s => s)", "alert.js")
    loaded = worker.load(write_file(tmp_path, V3), workflow="Case referral")
    assert (loaded.name, loaded.start) == ("Case referral", "webhook")
    assert [step.id for step in loaded.steps] == ["webhook", "cron", "fetch patient/1", "alert"]
    fetch, alert = loaded.steps[2:]
    assert fetch.configuration == "user@clinic-emr"
    assert fetch.adaptors == ("@openfn/language-http@7.2.10",)
    assert (alert.source, alert.source_file) == ("fn(s => s)", "./alert.js")
    first, second = edges_of(loaded)
    assert first.kind is EdgeKind.ALWAYS
    assert (second.kind, second.expression) == (EdgeKind.EXPRESSION, "state.errors && !state.ok")
    assert second.label == "it went wrong"
    assert loaded.warnings == ()


def test_words_that_older_yaml_takes_for_booleans_are_words(tmp_path: Path) -> None:
    assert worker.load(write_file(tmp_path, V3), workflow="on").id == "on"


@pytest.mark.parametrize(
    ("edge", "kind"),
    [
        ("condition: on_job_failure", EdgeKind.FAILURE),
        ("condition_type: on_job_success", EdgeKind.SUCCESS),
        ("{condition_type: js_expression, condition_expression: true}", EdgeKind.ALWAYS),
        ("{condition_type: js_expression, condition_expression: false}", EdgeKind.NEVER),
        ("condition_expression: state.x", EdgeKind.EXPRESSION),
        ("condition_type: always", EdgeKind.ALWAYS),
    ],
)
def test_conditions_of_version_3_in_all_their_spellings(
    tmp_path: Path, edge: str, kind: EdgeKind
) -> None:
    fields = edge.strip("{}").replace(", ", "\n        ")
    text = f"""
jobs:
  a: {{body: fn(s => s)}}
  b: {{body: fn(s => s)}}
edges:
    a->b:
        source_job: a
        target_job: b
        {fields}
"""
    (loaded,) = edges_of(worker.load(write_file(tmp_path, text)))
    assert loaded.kind is kind


def test_project_version_4(tmp_path: Path) -> None:
    write_file(tmp_path, "def step(state): return state", "score.py")
    text = """
schema_version: '4.0'
workflows:
  - id: triage
    name: Triage
    start: hook
    steps:
      - {id: hook, type: webhook, enabled: true, next: {score: {condition: always}}}
      - {id: score, name: Score, expression: ./score.py, next: {rest: {condition: on_job_failure, disabled: true}}}
      - {id: rest, adaptor: common, expression: fn(s => s)}
"""
    loaded = worker.load(write_file(tmp_path, text))
    assert (loaded.id, loaded.start) == ("triage", "hook")
    hook, score, _ = loaded.steps
    assert (hook.kind, hook.trigger_type) == (StepKind.TRIGGER, "webhook")
    assert score.language is Language.PYTHON
    assert score.edges[0].disabled and score.edges[0].kind is EdgeKind.FAILURE


@pytest.mark.parametrize(
    ("next", "expected"),
    [
        ("b", [("b", EdgeKind.ALWAYS)]),
        ({"b": True, "c": False}, [("b", EdgeKind.ALWAYS), ("c", EdgeKind.NEVER)]),
        ({"b": {}}, [("b", EdgeKind.NEVER)]),
        ({"b": {"condition": ""}}, [("b", EdgeKind.NEVER)]),
        ({"b": {"condition": "on_upstream_fail"}}, [("b", EdgeKind.FAILURE)]),
        ({"b": "on_upstream_success"}, [("b", EdgeKind.SUCCESS)]),
        ({"b": {"condition": "false"}}, [("b", EdgeKind.EXPRESSION)]),
        ({"10": True, "2": True}, [("10", EdgeKind.ALWAYS), ("2", EdgeKind.ALWAYS)]),
        (["b", "c"], [("b", EdgeKind.ALWAYS), ("c", EdgeKind.ALWAYS)]),
        (None, []),
    ],
)
def test_next_in_all_its_spellings(next: Any, expected: list[tuple[str, EdgeKind]]) -> None:
    loaded = worker.load({"steps": [{"id": "a", "expression": "fn(s => s)", "next": next}]})
    assert [(edge.target, edge.kind) for edge in edges_of(loaded)] == expected


def test_execution_plan_with_files_beside_it(tmp_path: Path) -> None:
    write_file(tmp_path, "fn(s => s)", "job.js")
    write_file(tmp_path, '{"password": "x"}', "creds.json")
    step = {"id": "a", "expression": "./job.js", "configuration": "./creds.json", "state": {"n": 1}}
    plan = {"options": {"start": "a", "timeout": 2000}, "workflow": {"name": "p", "steps": [step]}}
    loaded = worker.load(write_file(tmp_path, json.dumps(plan), "plan.json"))
    assert loaded.start == "a" and loaded.options["run_timeout_ms"] == 2000
    assert loaded.steps[0].source == "fn(s => s)"
    assert loaded.steps[0].configuration == {"password": "x"}
    assert loaded.steps[0].state == {"n": 1}


def test_legacy_start_and_jobs() -> None:
    legacy = {
        "start": "b",
        "jobs": [{"id": "a", "expression": "x"}, {"id": "b", "expression": "y"}],
    }
    assert worker.load(legacy).start == "b"


def test_lightning_run() -> None:
    run = {
        "id": "run-1",
        "triggers": [{"id": "t1", "type": "webhook"}],
        "jobs": [{"id": "j1", "name": "One", "body": "fn(s => s)", "adaptor": "common"}],
        "edges": [
            {
                "id": "e",
                "source_trigger_id": "t1",
                "target_job_id": "j1",
                "condition": "always",
                "enabled": True,
            }
        ],
        "starting_node_id": "t1",
        "dataclip_id": "d",
        "options": {"run_timeout_ms": 5000},
    }
    loaded = worker.load(run)
    assert (loaded.start, loaded.options) == ("t1", {"run_timeout_ms": 5000})
    assert worker.run(loaded, {}).status == "success"


def test_a_disabled_trigger_is_not_where_a_run_starts_if_another_is_enabled() -> None:
    project = {
        "jobs": {"a": {"body": "x"}},
        "triggers": {"cron": {"type": "cron", "enabled": False}, "webhook": {"type": "webhook"}},
        "edges": {
            "w": {"source_trigger": "webhook", "target_job": "a", "condition_type": "always"}
        },
    }
    assert worker.load(project).start == "webhook"


def test_of_two_edges_between_the_same_steps_the_last_holds() -> None:
    edge = {"source_job": "a", "target_job": "b"}
    project = {
        "jobs": {"a": {"body": "x"}, "b": {"body": "x"}},
        "edges": {
            "1": {**edge, "condition_type": "on_job_success"},
            "2": {**edge, "condition_type": "on_job_failure"},
        },
    }
    loaded = worker.load(project)
    assert [edge.kind for edge in edges_of(loaded)] == [EdgeKind.FAILURE]
    assert "replaces the first" in loaded.warnings[0].message


# --- picking one workflow of several -----------------------------------------------------------------

SEVERAL = {
    "workflows": {"one": {"name": "Same", "jobs": None}, "two": {"name": "Same", "jobs": None}}
}


@pytest.mark.parametrize(
    ("project", "wanted", "message"),
    [
        (
            SEVERAL,
            None,
            r"several workflows: pick one with --workflow or workflow= \('one', 'two'\)",
        ),
        (SEVERAL, "Same", r"named 'Same', found several \(there are: 'one', 'two'\)"),
        (SEVERAL, "three", r"named 'three', found none \(there are: 'one', 'two'\)"),
        ({"workflows": {}}, None, "the project has no workflows"),
        ({"workflows": None}, None, "the project has no workflows"),
        ({"workflows": [{"id": "a", "steps": []}] * 2}, "a", "found several"),
        ({"workflows": [5]}, None, r"workflows\[0\]: expected a mapping, found the number 5"),
        ({"name": "only", "steps": []}, "other", "named 'other', found one workflow, 'only'"),
    ],
)
def test_a_choice_that_is_none_names_the_choices(
    project: dict[str, Any], wanted: str | None, message: str
) -> None:
    with pytest.raises(LoadError, match=message):
        worker.load(project, workflow=wanted)


# --- where a run starts, and which limits it has -------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "start"),
    [
        ([{"id": "a", "type": "cron", "enabled": False}, {"id": "b", "type": "webhook"}], "b"),
        ([{"id": "a", "expression": "x"}, {"id": "b", "type": "cron", "enabled": False}], "b"),
        ([{"id": "a", "expression": "x"}, {"id": "b", "next": "a"}], ""),
    ],
    ids=["an enabled trigger", "a disabled trigger", "the first step"],
)
def test_without_a_start_a_run_starts_at(steps: list[dict[str, Any]], start: str) -> None:
    assert worker.load({"steps": steps}).start == start


def test_a_disabled_trigger_keeps_its_edges_for_runs_that_are_started_by_hand() -> None:
    trigger = {"id": "t", "type": "cron", "enabled": False, "next": {"a": True}}
    loaded = worker.load({"steps": [trigger, {"id": "a", "expression": "x"}]})
    assert loaded.start == "t" and edges_of(loaded)[0].can_be_taken


def test_limits_go_by_openfns_names_and_are_numbers() -> None:
    options = {"memoryLimitMb": 64, "stateLimitMb": 5, "payload_limit_mb": 1, "sanitize": "all"}
    loaded = worker.load({"options": options, "workflow": {"steps": []}}).options
    assert loaded == {
        "run_memory_limit_mb": 64,
        "state_limit_mb": 5,
        "payload_limit_mb": 1,
        "sanitize": "all",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"timeout": "5"},
            "options.timeout: expected a number above 0 and up to 86,400,000, found '5'",
        ),
        (
            {"memoryLimitMb": -1},
            "options.memoryLimitMb: expected a whole number from 8 to 1,000,000, found -1",
        ),
        ({"start": {"a": True}}, "options.start: expected text, found a mapping"),
        ([], "options: expected a mapping, found a list"),
    ],
)
def test_options_of_wrong_types_are_refused(options: Any, message: str) -> None:
    with pytest.raises(LoadError) as caught:
        worker.load({"options": options, "workflow": {"steps": []}})
    assert message in str(caught.value)


def test_a_mistaken_call_of_run_names_the_remedy() -> None:
    loaded = worker.load({"steps": [{"id": "a", "expression": "export default []"}]})
    with pytest.raises(UsageError, match=r"found a str: worker\.load"):
        worker.run("graphs/referral.yaml")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="expected a JSON object, found a list"):
        worker.run(loaded, [1])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"unknown option 'start_at'; did you mean 'start'"):
        worker.run(loaded, start_at="a")  # type: ignore[call-arg]


def test_an_expression_that_is_missing_is_warned_of() -> None:
    edges = {"source_job": "a", "target_job": "b", "condition_type": "js_expression"}
    jobs = {name: {"body": "export default []"} for name in "ab"}
    loaded = worker.load({"workflows": {"w": {"jobs": jobs, "edges": {"a->b": edges}}}})
    assert "there is no condition_expression" in loaded.warnings[0].message


def test_a_misspelt_word_of_a_condition_is_warned_of() -> None:
    def warnings(condition: str) -> list[str]:
        jobs: list[Any] = [{"id": name, "expression": "export default []"} for name in "ab"]
        jobs[0]["next"] = {"b": condition}
        return [warning.message for warning in worker.load({"steps": jobs}).warnings]

    assert warnings("on_job_sucess") == [
        "'on_job_sucess' is none of the words for conditions; did you mean 'on_job_success'?"
    ]
    for condition in ("on_job_success", "true", "state", "state.data", "!on_job_sucess"):
        assert warnings(condition) == []


def test_an_edge_without_a_condition_is_warned_of() -> None:
    jobs = [{"id": name, "expression": "export default []"} for name in "ab"]
    jobs[0]["next"] = {"b": {"label": "then"}}  # type: ignore[assignment]
    loaded = worker.load({"steps": jobs})
    assert edges_of(loaded)[0].kind is EdgeKind.NEVER
    assert "never taken; write condition: always" in loaded.warnings[0].message
    jobs[0]["next"] = {"b": {"condition": False}}  # type: ignore[assignment]
    assert worker.load({"steps": jobs}).warnings == ()


def test_the_adaptor_of_a_job_can_be_a_text(tmp_path: Path) -> None:
    (tmp_path / "job.js").write_text("fn(s => s)")
    assert worker.load(tmp_path / "job.js", adaptors="http").steps[0].adaptors == ("http",)
