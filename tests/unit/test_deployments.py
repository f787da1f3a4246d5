"""Workflows that are deployed to a fleet: versions, names, rights, and orders that run them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from tests.support.control_plane_harness import (
    ME,
    TOPICS,
    ControlPlaneHarness,
    FakeWorker,
    plan,
    to,
)
from worker.errors import LoadError, UsageError
from worker.fleet.control.policy import ClientRights, CredentialUse, Policy, ProjectLimits
from worker.fleet.control.store.store import Store
from worker.fleet.control.triggers.deploying import check_registry
from worker.fleet.control.triggers.validation import covers, parse_json_path
from worker.fleet.control.workflow_registry import WorkflowRegistry
from worker.fleet.messaging import messages as wire
from worker.fleet.project_files import read_project
from worker.workflow.load import load

EVERYTHING = Policy(allows_everything=True)
HOOK = {"type": "webhook", "name": "hook", "start": "a", "path": "referral"}


def flow(
    name: str = "intake", *triggers: dict[str, Any], code: str = "fn(s => s)"
) -> dict[str, Any]:
    document = plan(name)
    document["workflow"]["steps"][0]["expression"] = code
    return {"plan": document, "triggers": list(triggers)}


@pytest.fixture
def operator(store: Store) -> ControlPlaneHarness:
    return ControlPlaneHarness(store, policy=EVERYTHING)


def deploy(harness: ControlPlaneHarness, *workflows: dict[str, Any], **fields: Any) -> Any:
    return harness.call("deploy", workflows=list(workflows), **fields)


def test_new_versions_take_new_orders_and_running_ones_end_as_they_began(
    operator: ControlPlaneHarness,
) -> None:
    (first,) = deploy(operator, flow(code="fn(s => 1)"))
    before = operator.submit("o1", workflow="intake")
    (second,) = deploy(operator, flow(code="fn(s => 2)"))
    assert (first["changed"], second["changed"]) == (True, True)
    assert first["version"] != second["version"]
    after = operator.submit("o2", workflow="intake")

    def code(run_id: str) -> str:
        return str(operator.run(run_id)["plan"]["workflow"]["steps"][0]["expression"])

    assert (code(before), code(after)) == ("fn(s => 1)", "fn(s => 2)")
    assert not deploy(operator, flow(code="fn(s => 2)"))[0]["changed"]
    operator.call("rollback", name="intake")
    assert code(operator.submit("o3", workflow="intake")) == "fn(s => 1)"
    history = operator.call("workflow_history", name="intake")
    assert [(row["number"], row["action"], row["version"]) for row in history] == [
        (3, "rollback", first["version"]),
        (2, "deploy", second["version"]),
        (1, "deploy", first["version"]),
    ]
    operator.call("rollback", name="intake", version=second["version"][:6])
    assert operator.call("workflow", name="intake")["version"] == second["version"]
    assert (
        "no version that begins"
        in operator.failure("rollback", name="intake", version="0000").message
    )


def test_a_deployed_workflow_outlives_its_orders_and_a_restart(
    operator: ControlPlaneHarness,
) -> None:
    deploy(operator, flow())
    operator.restart()
    assert operator.call("workflows") == ["flow", "intake", "other"]
    worker = FakeWorker(operator)
    operator.submit(workflow="intake")
    (run,) = worker.claim()
    assert msgspec.json.decode(bytes(run.plan))["workflow"]["name"] == "intake"


def test_projects_have_workflows_of_their_own(operator: ControlPlaneHarness) -> None:
    deploy(operator, flow(), project="north")
    assert operator.failure("submit", workflow="intake").code == "unknown"
    operator.submit(workflow="intake", project="north")
    assert [row["project"] for row in operator.call("deployments", project="north")] == ["north"]
    assert operator.call("deployments", project="south") == []


@pytest.mark.parametrize(
    ("workflow", "reason"),
    [
        (flow("flow"), "the name 'flow' is taken by --workflows"),
        (flow("x", {**HOOK, "start": "nope"}), "no step 'nope' to start at"),
        (flow("x", {**HOOK, "path": "../etc"}), "is no path"),
        (flow("x", {**HOOK, "auth": ["gone"]}), "no method of authentication 'gone'"),
        (flow("x", HOOK, {**HOOK, "path": "other"}), "have the same name"),
        (flow("x", {**HOOK, "path": "taken"}), "the path /i/taken belongs to 'first'"),
        (flow("x", {"type": "cron", "name": "t", "start": "a", "expression": "61 * * * *"}), "is no schedule"),
        (flow("x", {"type": "cron", "name": "t", "start": "a", "expression": "* * * * *", "timezone": "../x"}),
         "unknown time zone"),
        (flow("x", {"type": "mqtt", "name": "t", "start": "a", "topic": "a/#/b"}), "no topic filter"),
        (flow("x", {"type": "mqtt", "name": "t", "start": "a", "topic": "$share/g/a"}), "lose messages"),
        (flow("x", {"type": "mqtt", "name": "t", "start": "a", "topic": "#"}), "the fleet's own topics"),
        (flow("x", {"type": "mqtt", "name": "t", "start": "a", "topic": "worker/+/runs/x/state"}),
         "the fleet's own topics"),
        (flow("x", {"type": "mqtt", "name": "t", "start": "a", "topic": "a", "reply": "accepted"}),
         "needs a reply_topic"),
        (flow("x", {"type": "mqtt", "name": "t", "start": "a", "topic": "a", "filter": "state.data ="}),
         "trigger 't' of 'x'"),
        (flow("x", {"type": "mqtt", "name": "t", "start": "a", "topic": "a", "idempotency": {}}), "exactly one"),
        (flow("x", {"type": "mqtt", "name": "t", "start": "a", "topic": "a",
                    "idempotency": {"json_path": "$..id"}}), "is no path that an id can have"),
        (flow("x", {"type": "mqtt", "name": "t", "start": "a", "topic": "a", "qos": 3}), "Invalid enum value"),
        ({"plan": {"workflow": {"name": "x", "steps": [{"id": "a", "expression": "f", "next": "gone"}]}}},
         "gone"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_one_that_is_wrong_keeps_all_from_being_deployed(
    operator: ControlPlaneHarness, workflow: dict[str, Any], reason: str
) -> None:
    deploy(operator, flow("first", {**HOOK, "path": "taken"}))
    before = operator.dump()
    failure = operator.failure(
        "deploy", workflows=[flow("good", {**HOOK, "path": "good"}), workflow]
    )
    assert reason in failure.message, failure
    assert operator.dump() == before


@pytest.mark.parametrize(
    "trigger",
    [
        {**HOOK, "reply": "after_completion"},
        {"type": "mqtt", "name": "t", "start": "a", "topic": "a", "reply": "after_completion",
         "reply_topic": "b"},
        {"type": "cron", "name": "t", "start": "a", "expression": "@daily", "cursor_job": "b"},
    ],
    ids=lambda trigger: str(trigger["type"]),
)  # fmt: skip
def test_a_trigger_that_reads_states_is_refused_where_none_are_stored(
    store: Store, trigger: dict[str, Any]
) -> None:
    projects = {
        "none": ProjectLimits(keep_data="none"),
        "errors": ProjectLimits(keep_data="errors"),
        "outputs": ProjectLimits(output_dataclips=False),
    }
    harness = ControlPlaneHarness(store, policy=Policy(allows_everything=True, projects=projects))
    for project in projects:
        failure = harness.failure("deploy", workflows=[flow("x", trigger)], project=project)
        assert "keep_data" in failure.message and "output_dataclips" in failure.message
        deploy(harness, flow("x", {**trigger, "enabled": False}), project=project)
    daily = {"type": "cron", "name": "t", "start": "a", "expression": "@daily"}
    deploy(harness, flow("y", {**HOOK, "path": "y"}, daily), project="none")
    deploy(harness, flow("x", trigger))


def test_who_may_deploy(store: Store) -> None:
    def answer(harness: ControlPlaneHarness, user: str, method: str = "deploy") -> str:
        content = {"workflows": [flow()]} if method == "deploy" else {"name": "intake"}
        message = to(TOPICS.request(method, user), content, reply_to=ME)
        (reply,) = harness.send(message).replies
        return "" if reply.error is None else reply.error.message

    harness = ControlPlaneHarness(store)
    assert "for the user 'operator'" in answer(harness, "alice")
    assert answer(harness, "operator") == ""
    assert "may not deploy" in answer(harness, "alice", "rollback")
    harness.restart(policy=Policy(clients={"alice": ClientRights(may=frozenset({"deploy"}))}))
    assert answer(harness, "alice") == ""
    assert "may not read" in answer(harness, "alice", "workflow")
    assert "may not deploy" in answer(harness, "operator")


def test_a_project_may_not_deploy_credentials_of_others(store: Store) -> None:
    policy = Policy(credentials={"prod": (CredentialUse(project="north"),)})
    harness = ControlPlaneHarness(store, policy=policy)
    workflow = flow()
    workflow["plan"]["workflow"]["steps"][0]["configuration"] = "prod"
    for project, denied in (("south", True), ("north", False)):
        message = to(
            TOPICS.request("deploy", "operator"), {"project": project, "workflows": [workflow]},
            reply_to=ME,
        )  # fmt: skip
        (reply,) = harness.send(message).replies
        assert (reply.error is not None and reply.error.code == "denied") is denied


def test_a_file_may_not_take_the_name_of_a_deployed_workflow(operator: ControlPlaneHarness) -> None:
    deploy(operator, flow("shared"))
    registry = WorkflowRegistry()
    registry.add(load(plan("shared")))
    with (
        operator.store.read() as connection,
        pytest.raises(UsageError, match="'shared' is deployed"),
    ):
        check_registry(connection, registry)


def test_secrets_of_a_plan_are_not_stored_in_clear(operator: ControlPlaneHarness) -> None:
    workflow = flow()
    workflow["plan"]["workflow"]["steps"][0]["configuration"] = {"password": "hunter22"}
    failure = operator.failure("deploy", workflows=[workflow])
    assert "would be stored in clear" in failure.message


# --- files ----------------------------------------------------------------------------------------

PROJECT = {
    "workflows": {
        "referral": {
            "name": "Referral",
            "jobs": {"check": {"body": "fn(s => s)", "adaptor": "common"}},
            "triggers": {
                "webhook": {"type": "webhook", "enabled": True, "webhook_reply": "after_completion",
                            "webhook_response_config": {"success_code": 201, "error_code": 422}},
                "nightly": {"type": "cron", "cron_expression": "0 2 * * *", "timezone": "Africa/Nairobi"},
                "records": {"type": "kafka", "kafka_configuration": {"password": "secret"}},
            },
            "edges": {
                f"{name}->check": {"source_trigger": name, "target_job": "check", "condition_type": "always"}
                for name in ("webhook", "nightly", "records")
            },
        }
    }
}  # fmt: skip


def project(folder: Path, document: Any = PROJECT, triggers: Any = None) -> Path:
    (folder / "project.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    if triggers is not None:
        (folder / "triggers.yaml").write_text(yaml.safe_dump(triggers))
    return folder / "project.yaml"


def test_a_kafka_trigger_is_answered_with_the_way_to_mqtt(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"reads from Kafka.*(?s:.*)records: \{type: mqtt"):
        read_project(project(tmp_path))


def test_triggers_yaml_replaces_a_trigger_and_adds_one(
    tmp_path: Path, operator: ControlPlaneHarness
) -> None:
    additions = {
        "workflows": {
            "Referral": {
                "records": {"type": "mqtt", "topic": "clinic/+/referral", "idempotency": "$.id"},
                "late": {
                    "type": "mqtt",
                    "topic": "late",
                    "idempotency": "content",
                    "enabled": False,
                },
            }
        }
    }
    request = read_project(project(tmp_path, triggers=additions), project="north")
    (workflow,) = request.workflows
    assert {trigger.name: (trigger.start, wire.encode(trigger)) for trigger in workflow.triggers} == {
        name: (start, wire.encode(fields))
        for name, start, fields in (
            ("webhook", "webhook", {"type": "webhook", "name": "webhook", "start": "webhook",
                                    "path": "referral/webhook", "reply": "after_completion",
                                    "success_code": 201, "error_code": 422}),
            ("nightly", "nightly", {"type": "cron", "name": "nightly", "start": "nightly",
                                    "expression": "0 2 * * *", "timezone": "Africa/Nairobi"}),
            ("records", "records", {"type": "mqtt", "name": "records", "start": "records",
                                    "topic": "clinic/+/referral",
                                    "idempotency": {"json_path": "$.id"}}),
            ("late", "webhook", {"type": "mqtt", "name": "late", "start": "webhook", "enabled": False,
                                 "topic": "late", "idempotency": {"content": True}}),
        )
    }  # fmt: skip
    assert b"secret" not in wire.encode(request)
    operator.call("deploy", **msgspec.json.decode(wire.encode(request)))
    shown = operator.call("workflow", name="Referral", project="north")
    assert {row["name"]: row["live"] for row in shown["triggers"]} == {
        "webhook": True, "nightly": True, "records": True, "late": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("triggers", "reason"),
    [
        ({"workflows": {"Nobody": {}}}, "has no workflow 'Nobody'"),
        ({"workflows": {"Referral": {"records": {"type": "mqt"}}}}, "unknown type 'mqt'"),
        (
            {"workflows": {"Referral": {"records": {"type": "mqtt", "topik": "x"}}}},
            "unknown key 'topik'",
        ),
        ({"workflows": {"Referral": {"records": {"type": "mqtt", "topic": 5}}}}, "Expected `str`"),
    ],
)
def test_mistakes_in_triggers_yaml_are_named(tmp_path: Path, triggers: Any, reason: str) -> None:
    with pytest.raises(LoadError, match=reason):
        read_project(project(tmp_path, triggers=triggers))


def test_topics_and_paths() -> None:
    assert covers("clinic/+/referral", "clinic/a/referral")
    assert covers("clinic/#", "clinic")
    assert not covers("+/a", "$SYS/a")
    assert parse_json_path("$.a['b c'][0]") == ("a", "b c", 0)
