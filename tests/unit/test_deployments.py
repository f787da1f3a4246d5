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
from worker.fleet.control.triggers import deploying
from worker.fleet.control.triggers.deploying import check_registry
from worker.fleet.control.triggers.validation import cycle_of, parse_json_path
from worker.fleet.control.workflow_registry import WorkflowRegistry
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.client_messages import Reply
from worker.fleet.messaging.topics import covers, has_unsent_characters, overlap
from worker.fleet.messaging.trigger_messages import MqttTrigger
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


def test_names_of_other_projects_are_not_listed(operator: ControlPlaneHarness) -> None:
    deploy(operator, flow("of-north"), project="north")
    deploy(operator, flow("of-south"), project="south")
    rights = ClientRights(may=frozenset(("submit", "read")), projects=frozenset(("north",)))
    operator.restart(policy=Policy(clients={"ann": rights, "all": ClientRights(may=rights.may)}))

    def ask(client: str, method: str, **fields: Any) -> Reply:
        (reply,) = operator.send(to(TOPICS.request(method, client), fields, reply_to=ME)).replies
        return reply

    assert bytes(ask("ann", "workflows").ok) == b'["flow","of-north","other"]'
    assert bytes(ask("all", "workflows").ok) == b'["flow","of-north","of-south","other"]'
    error = ask("ann", "submit", order_id="o", workflow="unknown", project="north").error
    assert error is not None and "(there are: flow, of-north, other)" in error.message
    error = ask("ann", "submit", order_id="o", workflow="of-nrth", project="north").error
    assert error is not None and error.message.endswith("; did you mean 'of-north'?")
    error = ask("ann", "workflow", name="of-sout", project="north").error
    assert error is not None and error.message.endswith("; did you mean 'of-north'?")
    error = ask("ann", "workflow", name="flow", project="north").error
    assert error is not None and "(those of --workflows have no versions)" in error.message


@pytest.mark.parametrize(
    ("workflow", "reason"),
    [
        (flow("flow"), "the name 'flow' is taken by --workflows"),
        (flow("x", {**HOOK, "start": "nope"}), "no step 'nope' to start at"),
        (flow("x", {**HOOK, "path": "../etc"}), "is not a path"),
        (flow("x", {**HOOK, "auth": ["gone"]}), "no method of authentication 'gone'"),
        (flow("x", HOOK, {**HOOK, "path": "other"}), "have the same name"),
        (flow("x", {**HOOK, "path": "taken"}), "the path /i/taken belongs to 'first'"),
        (flow("x", {"type": "cron", "name": "t", "start": "a", "expression": "61 * * * *"}), "is not a schedule"),
        (flow("x", {"type": "cron", "name": "t", "start": "a", "expression": "* * * * *", "timezone": "../x"}),
         "unknown time zone"),
        (flow("x", {"type": "mqtt", "name": "t", "start": "a", "topic": "a/#/b"}), "no topic filter"),
        (flow("x", {"type": "mqtt", "name": "t", "start": "a", "topic": "$share/g/a"}), "lose messages"),
        (flow("x", {"type": "mqtt", "name": "t", "start": "a", "topic": "#"}), "the fleet's own topics"),
        (flow("x", {"type": "mqtt", "name": "t", "start": "a", "topic": "a/\n"}), "has control characters"),
        (flow("x", {"type": "mqtt", "name": "t", "start": "a", "topic": "a/\ufffe"}), "no characters"),
        (flow("x", {"type": "mqtt", "name": "t", "start": "a", "topic": "a", "reply": "accepted",
                    "reply_topic": "b/\x85"}), "reply_topic 'b/\\x85' has control"),
        (flow("x", {"type": "mqtt", "name": "t", "start": "a", "topic": "a/#", "reply": "accepted",
                    "reply_topic": "a"}), "the replies of trigger 't' of 'x' (project 'default') would"),
        (flow("x", {"type": "mqtt", "name": "t", "start": "a", "topic": "worker/+/runs/x/state"}),
         "the fleet's own topics"),
        (flow("x", {"type": "mqtt", "name": "t", "start": "a", "topic": "a", "reply": "accepted"}),
         "needs a reply_topic"),
        (flow("x", {"type": "mqtt", "name": "t", "start": "a", "topic": "a", "filter": "state.data ="}),
         "trigger 't' of 'x'"),
        (flow("x", {"type": "mqtt", "name": "t", "start": "a", "topic": "a", "idempotency": {}}), "exactly one"),
        (flow("x", {"type": "mqtt", "name": "t", "start": "a", "topic": "a",
                    "idempotency": {"json_path": "$..id"}}), "is not a path that an id can have"),
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
        ({"triggers": {"records": {"type": "mqtt"}}}, r"yaml:2:3: .*unknown key 'triggers' \(expected"),
        ({"workflow": {}}, "unknown key 'workflow'"),
        *(
            ({"workflows": {"Referral": {"records": fields}}}, reason)
            for fields, reason in (
                ({"topic": "a"}, "the key 'type' is missing"),
                ({"type": ["mqtt"]}, r"unknown type \['mqtt'\]"),
                ({"type": "mqtt", "topic": 5}, r"yaml:\d:\d+: .*topic: expected text, found a whole number"),
                ({"type": "mqtt"}, "records.topic: the key is missing"),
                ({"type": "cron"}, "the key is missing"),
                ({"type": "mqtt", "topic": "a", "qos": 3}, r"qos: unknown value 3 \(expected one of 0, 1, 2\)"),
                ({"type": "mqtt", "topic": "a", "idempotency": [1]}, "expected a mapping, found a list"),
                ({"type": "webhook", "webhook_reply": "late"}, "webhook_reply: unknown value 'late'"),
                ({"type": "webhook", "path": "a", "custom_path": "b"}, "two names of one key"),
                ({"type": "webhook", "success_code": 99}, "success_code: expected a whole number of at least 200"),
            )
        ),
    ],
)  # fmt: skip
def test_mistakes_in_triggers_yaml_are_named(tmp_path: Path, triggers: Any, reason: str) -> None:
    with pytest.raises(LoadError, match=reason):
        read_project(project(tmp_path, triggers=triggers))


def replier(topic: str, reply_topic: str, **fields: Any) -> MqttTrigger:
    return MqttTrigger(
        name="t", start="a", topic=topic, reply="accepted", reply_topic=reply_topic, **fields
    )


@pytest.mark.parametrize(
    ("triggers", "cycle"),
    [
        ({"a": replier("a/+", "a/out")}, ["a"]),
        ({"a": replier("a/+", "b"), "b": replier("b", "c"), "c": replier("#", "a/x")}, ["a", "c"]),
        ({"a": replier("a", "b"), "b": replier("b", "c"), "c": replier("c", "a")}, ["a", "b", "c"]),
        ({"a": replier("a", "b"), "b": replier("b", "c"), "c": replier("c", "d")}, []),
        # Response topics: the reply to a message has none, so there is one more order at most.
        ({"a": replier("a/+", "a/replies")}, ["a"]),
        ({"a": replier("a/#", "a/replies/+")}, []),
        ({"a": replier("a/+", "a/out", filter="!state.data.work_order_id")}, []),
        ({"a": MqttTrigger(name="t", start="a", topic="a", reply_topic="a")}, []),
    ],
    ids=lambda value: ",".join(value),
)
def test_replies_that_start_workflows_for_ever(
    triggers: dict[str, MqttTrigger], cycle: list[str]
) -> None:
    assert cycle_of(triggers, starts=triggers) == cycle


def test_a_cycle_counts_only_for_its_own_triggers() -> None:
    triggers = {"x": replier("x", "a"), "a": replier("a", "b"), "b": replier("b", "a")}
    assert cycle_of(triggers, starts=["x"]) == []
    assert cycle_of(triggers, starts=["x", "b"]) == ["b", "a"]


def test_a_reply_that_another_workflow_receives_must_not_come_back(
    operator: ControlPlaneHarness,
) -> None:
    there, back = (
        {"type": "mqtt", "name": "t", "start": "a", "topic": topic, "reply": "accepted",
         "reply_topic": reply_topic}
        for topic, reply_topic in (("there/#", "back/x"), ("back/+", "there/x"))
    )  # fmt: skip
    deploy(operator, flow("first", there), project="north")
    workflows = [flow("second", back)]
    assert operator.failure("deploy", workflows=workflows).code == "invalid"
    deploy(operator, flow("first", {**there, "reply_topic": "elsewhere"}), project="north")
    deploy(operator, *workflows)


def test_a_cycle_of_others_blocks_neither_deployments_nor_rollbacks(
    operator: ControlPlaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    cycle, unrelated = (
        {"type": "mqtt", "name": "t", "start": "a", "topic": topic, "reply": "accepted",
         "reply_topic": f"{topic}x"}
        for topic in ("cycle/#", "unrelated/")
    )  # fmt: skip
    cycle["reply_topic"] = "cycle/x"
    # As a version deployed before the check.
    with monkeypatch.context() as unchecked:
        unchecked.setattr(deploying, "cycle_of", lambda triggers, starts: [])
        deploy(operator, flow("cyclic", cycle), project="south")
    deploy(operator, flow("first", unrelated), project="north")
    deploy(operator, flow("first", {**unrelated, "topic": "other"}), project="north")
    operator.call("rollback", name="first", project="north")
    assert operator.failure("deploy", workflows=[flow("cyclic", cycle)]).code == "invalid"


def test_filters_that_cover_a_common_topic() -> None:
    for first, second, both in (
        ("a", "a", True), ("a/+", "a/b", True), ("a/#", "a", True), ("+/b", "a/+", True),
        ("#", "x/y/z", True), ("a/+/c", "a/b/#", True), ("a", "b", False), ("a/+", "a", False),
        ("a/+", "a/b/c", False), ("+/x", "a/y", False),
    ):  # fmt: skip
        assert overlap(first, second) is overlap(second, first) is both, (first, second)


def test_topics_and_paths() -> None:
    for text in ("é/ü", "a b", "clinic/\U0001f3e5"):
        assert not has_unsent_characters(text)
    for text in ("\x00", "\x1f", "\x7f", "\x9f", "\ud800", "\ufdd0", "\uffff", "\U0001fffe"):
        assert has_unsent_characters(f"clinic/{text}")
    assert covers("clinic/+/referral", "clinic/a/referral")
    for topic in ("clinic", "clinic/a", "clinic/a/b\n"):
        assert covers("clinic/#", topic) and covers("#", topic) and not covers("clini.", topic)
    assert covers("clinic/+", "clinic/") and not covers("clinic/+", "clinic/a/b")
    assert not covers("+/a", "$SYS/a")
    assert parse_json_path("$.a['b c'][0]") == ("a", "b c", 0)
