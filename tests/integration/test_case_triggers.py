"""Cases and fixtures that start with a message, a call or a tick, by the rules of a fleet."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from worker.errors import LoadError, UsageError
from worker.testing import WorkflowUnderTest, load_cases, run_case, update_cases
from worker.testing.json_schema import case_schema
from worker.workflow.load import load

JOB = """fn((state) => ({
  patient: state.data.id, request: state.request,
  webhookResponse: { status: 201, body: { id: state.data.id } } }))"""
TRIGGERS = {
    "calls": {"type": "webhook", "custom_path": "in", "webhook_reply": "after_completion"},
    "old": {"type": "webhook", "custom_path": "old", "enabled": False},
    "nightly": {"type": "cron", "cron_expression": "0 2 * * *", "timezone": "Africa/Nairobi"},
}
TOPICS = {
    "all": {"type": "mqtt", "topic": "clinic/+/in", "idempotency": "$.id", "filter": "state.data.age >= 18"},
    "notes": {"type": "mqtt", "topic": "notes/#", "format": "text", "qos": 0, "max_mb": 0.00002},
    "both": {"type": "mqtt", "topic": "notes/both"},
}  # fmt: skip
NORTH = "clinic/north/in"


def project(folder: Path) -> Path:
    jobs = {
        "check": {"adaptor": "common", "body": JOB},
        "count": {"adaptor": "common", "body": "fn((state) => ({ n: (state.n || 0) + 1 }))"},
    }
    edges = {
        f"{name}->{job}": {
            "source_trigger": name, "target_job": job, "condition_type": "always",
        }
        for name, job in (("calls", "check"), ("old", "check"), ("nightly", "count"))
    }  # fmt: skip
    workflow = {"name": "Clinic", "jobs": jobs, "triggers": TRIGGERS, "edges": edges}
    file = folder / "project.yaml"
    file.write_text(yaml.safe_dump({"workflows": {"w": workflow}}, sort_keys=False))
    (folder / "triggers.yaml").write_text(yaml.safe_dump({"workflows": {"Clinic": TOPICS}}))
    return file


def cases(folder: Path, *each: dict[str, Any]) -> Path:
    project(folder)
    file = folder / "w.cases.yaml"
    named = [{"name": f"case {number}", **case} for number, case in enumerate(each)]
    content = {"workflow": "project.yaml", "cases": named}
    jsonschema.validate(content, case_schema())
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


def message(topic: str, **fields: Any) -> dict[str, Any]:
    return {"message": {"topic": topic, **fields}}


ADULT = message(NORTH, json={"id": "p", "age": 41})
CHILD = message(NORTH, json={"id": "p", "age": 4})
TICK = {"tick": {"trigger": "nightly"}, "at": "2026-05-01T12:00:00Z"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "expect", "problem"),
    [
        (ADULT, {"path": ["check"], "state": {"patient": "p", "request": {"topic": NORTH, "qos": 1}}}, ""),
        (CHILD, {"trigger": "filtered"}, ""),
        (CHILD, {}, "expected trigger 'all' fired, found filtered (the filter is false: state.data.age >= 18)"),
        (ADULT, {"trigger": "filtered"}, "expected trigger 'all' filtered, found fired"),
        (message(NORTH, text="{"), {"trigger": "not_json"}, ""),
        (message(NORTH, json={"age": 41}), {"trigger": "no_key"}, ""),
        (message(NORTH, json={"id": 1, "age": 41}, retain=True), {"trigger": "ignored"}, ""),
        (message(NORTH, json=[]), {"trigger": "no_key"}, ""),
        (message("notes/a", text="hej", qos=2, properties={"token": "x", "who": "me"}),
         {"state": {"request": {"qos": 0, "properties": {"token": "***", "who": "me"}}}}, ""),
        (message("notes/a", base64="/w=="), {"trigger": "not_text"}, ""),
        (message("notes/a", text="x" * 100), {"trigger": "too_large"}, ""),
        (message("notes/both", json={"id": 3}, trigger="both"), {"state": {"patient": 3}}, ""),
        ({"call": {"path": "in", "json": {"id": 9}, "headers": {"X-Api-Key": "k"}, "query": {"a": "b c"}}},
         {"response": {"code": 201, "json": {"id": 9}},
          "state": {"request": {"headers": {"x-api-key": "***"}, "query_params": {"a": "b c"}}}}, ""),
        ({"call": {"path": "in", "json": {"id": 9}}}, {"response": {"code": 200}}, "expected a response with code 200, found 201"),
        ({"call": {"path": "in", "json": [1]}}, {"state": {"request": {"method": "POST", "path": ["i", "in"]}}}, ""),
        ({"call": {"path": "in", "text": "x"}}, {"trigger": "unsupported_media_type", "response": {"code": 415}}, ""),
        ({"call": {"path": "in", "text": "{", "headers": {"content-type": "application/json"}}},
         {"trigger": "bad_request", "response": {"code": 400, "json": {"error": "bad_request"}}}, ""),
        ({"call": {"path": "old"}}, {"trigger": "disabled", "response": {"code": 404}}, ""),
        ({**TICK, "input": {"n": 4}}, {"path": ["count"], "state": {"n": 5}}, ""),
        (TICK, {"state": {"n": 1}}, ""),
        ({**ADULT, "steps": {"check": {"returns": {}}}}, {"state_exact": {}}, ""),
    ],
)  # fmt: skip
def test_a_case_starts_with_what_a_trigger_receives(
    start: dict[str, Any], expect: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    (case,) = load_cases(cases(tmp_path, {**start, "expect": expect}))
    assert [*run_case(case).mismatches] == ([problem] if problem else [])


@pytest.mark.slow
def test_a_tick_is_in_its_time_zone(tmp_path: Path) -> None:
    one, two = load_cases(
        cases(tmp_path, {**TICK, "expect": {}}, {**TICK, "tick": {}, "expect": {}})
    )
    # 02:00 in Nairobi is 23:00 in UTC.
    assert one.begins_at_us == two.begins_at_us == 1_777_676_400_000_000
    schedule = {"cron": {"times": 2}, "at": TICK["at"], "start_at": "count", "expect": {}}
    (three,) = load_cases(cases(tmp_path, schedule))
    first = run_case(three).results[0]
    assert first.events[0].timestamp == one.begins_at_us


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (message("other/in"), "stale: no trigger receives messages on 'other/in'"),
        (message("notes/both", text="x"), "several triggers receive this: name one of 'both', 'notes'"),
        (message("notes/both", trigger="bth"), "no such trigger: 'bth'"),
        ({"call": {"path": "there"}}, "stale: no webhook has the path 'there' (paths: 'in', 'old')"),
        ({"tick": {"trigger": "daily"}}, "no such trigger: 'daily' (triggers: 'nightly')"),
        ({**ADULT, "input": {}}, "the message makes the input: expected no 'input' beside it"),
        ({**ADULT, **TICK}, "expected one of message, call, tick and cron, found several"),
        ({**CHILD, "expect": {"trigger": "filtered", "path": []}}, "no run starts where the outcome is 'filtered'"),
        ({"expect": {"trigger": "fired"}}, "the case has no message, call or tick"),
        ({**ADULT, "expect": {"response": {"code": 200}}}, "only a call has a response"),
        (message(NORTH, text="", json=1), "expected one of json, text, base64, found several"),
    ],
)  # fmt: skip
def test_mistakes_are_named(case: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(LoadError) as caught:
        load_cases(cases(tmp_path, {"expect": {}, **case}))
    assert reason in str(caught.value)
    assert caught.value.line


def test_a_response_is_updated(tmp_path: Path) -> None:
    wrong = {"call": {"path": "in", "json": {"id": 9}}, "expect": {"response": {"code": 7, "json": {"id": 1}}}}  # fmt: skip
    file = cases(tmp_path, wrong)
    (case,) = load_cases(file)
    assert update_cases(file, [run_case(case)]) == ["case 0"]
    assert run_case(load_cases(file)[0]).mismatches == ()


def test_the_fixture_starts_a_workflow_as_a_trigger_does(tmp_path: Path) -> None:
    workflow = WorkflowUnderTest(workflow=load(project(tmp_path)))
    fired = workflow.message(NORTH, {"id": "p", "age": 41}, properties={"who": "me"})
    assert fired.run and fired.run.final_state["request"]["properties"] == {"who": "me"}
    filtered = workflow.message(NORTH, {"id": "p", "age": 4})
    assert (filtered.outcome, filtered.run) == ("filtered", None)
    assert workflow.message(NORTH, payload=b"{").outcome == "not_json"
    called = workflow.call("in", {"id": 9})
    assert called.response and (called.response.code, json.loads(called.response.text)) == (
        201,
        {"id": 9},
    )
    ticked = workflow.tick(cursor={"n": 1})
    assert ticked.run and ticked.run.final_state == {"n": 2}
    # The time that a job reads is that of the tick, which is the next one after `at`.
    late = workflow.tick(at="2030-05-01T12:00Z").run
    tick = datetime(2030, 5, 1, 23, tzinfo=UTC)
    assert late and late.result.events[0].timestamp == tick.timestamp() * 1e6
    with pytest.raises(UsageError, match="at: expected a date and time, found 'soon'"):
        workflow.tick(at="soon")
    for start in (workflow.message, workflow.call):
        with pytest.raises(UsageError, match="content and payload are both the body"):
            start("in", {}, payload=b"{}")
    with pytest.raises(UsageError, match="no trigger receives messages on 'x'"):
        workflow.message("x", {})
