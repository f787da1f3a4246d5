"""Attacks on rights: a user of the broker tries to use credentials, orders and requests of others,
and whoever comes by the database tries to read the secrets that orders brought."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.fernet import Fernet

import worker
from tests.support.command import call_worker
from tests.support.control_plane_harness import (
    ME,
    TOPICS,
    ControlPlaneHarness,
    FakeWorker,
    decode_outgoing,
    plan,
    to,
)
from worker.errors import LoadError, UsageError
from worker.fleet.control.inline_secrets import KEY_LOST, InlineSecrets, read_secret_keys
from worker.fleet.control.policy import ClientRights, CredentialUse, Policy, read_policy
from worker.fleet.control.store.store import Store
from worker.fleet.control.workflow_registry import WorkflowRegistry
from worker.fleet.messaging.worker_protocol import PROTOCOL, AssignedRun
from worker.runner.prepare import configurations
from worker.workflow.load import load

SECRET = "hunter2-correct-horse"


def with_credential(name: str, configuration: Any) -> dict[str, Any]:
    document = plan(name)
    document["workflow"]["steps"][0]["configuration"] = configuration
    return document


def registry() -> WorkflowRegistry:
    registered = WorkflowRegistry()
    for name in ("flow", "other"):
        registered.add(load(with_credential(name, "prod")))
    return registered


class Rights:
    """A control plane with a policy, and requests of its users."""

    def __init__(self, url: str = "sqlite://", **options: Any) -> None:
        self.store = Store(url)
        self.store.migrate()
        options.setdefault("registry", registry())
        self.harness = ControlPlaneHarness(self.store, **options)

    def ask(self, user: str, method: str, **fields: Any) -> Any:
        """Return the result of a request, or the code and message of its failure."""
        message = to(TOPICS.request(method, user), fields, reply_to=ME)
        (reply,) = decode_outgoing(self.harness.processor.process([message], 10**15)).replies
        if reply.error is not None:
            return f"{reply.error.code}: {reply.error.message}"
        return json.loads(bytes(reply.ok))

    def submit(self, user: str = "", order_id: str = "o", **fields: Any) -> Any:
        if "plan" not in fields:
            fields.setdefault("workflow", "flow")
        return self.ask(user, "submit", order_id=order_id, **fields)

    def assigned(self) -> AssignedRun:
        """Return the run that a worker is given."""
        claim = {"claim_id": "c1", "demand": 1, "incarnation": "i1", "protocol": PROTOCOL}
        presence = {"incarnation": "i1", "online": True, "capacity": 1}
        messages = [
            to(TOPICS.worker("w", "status"), presence),
            to(TOPICS.worker("w", "claim"), claim),
        ]
        outgoing = decode_outgoing(self.harness.processor.process(messages, 10**15))
        return outgoing.assignments[0].runs[0]


def made(**options: Any) -> Iterator[Rights]:
    rights = Rights(**options)
    yield rights
    rights.store.close()


# --- credentials ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "fields", "outcome"),
    [
        (Policy(), {}, "pending"),
        (Policy(), {"plan": with_credential("flow", "prod")}, "denied"),
        (Policy(), {"plan": with_credential("flow", {"$CREDENTIALS$": "prod"})}, "denied"),
        (Policy(), {"plan": plan("flow")}, "pending"),
        (Policy(allows_everything=True), {"plan": with_credential("flow", "prod")}, "pending"),
        ({"prod": ()}, {}, "denied"),
        ({"prod": (CredentialUse(project="north"),)}, {}, "denied"),
        ({"prod": (CredentialUse(project="north"),)}, {"project": "north"}, "pending"),
        ({"prod": (CredentialUse(workflow="flow"),)}, {}, "pending"),
        ({"prod": (CredentialUse(workflow="flow"),)}, {"workflow": "other"}, "denied"),
        ({"prod": (CredentialUse(workflow="flow"),)}, {"plan": with_credential("flow", "prod")}, "denied"),
        ({"prod": (CredentialUse(),)}, {"plan": with_credential("flow", "prod")}, "denied"),
        ({"prod": (CredentialUse(plans=True),)}, {"plan": with_credential("x", "prod")}, "pending"),
        ({"prod": (CredentialUse(plans=True, project="north"),)}, {"plan": with_credential("x", "prod")}, "denied"),
    ],
)  # fmt: skip
def test_an_order_names_the_credentials_that_the_policy_grants(
    policy: Any, fields: dict[str, Any], outcome: str
) -> None:
    """Tries to have a worker send its credential to a job of one's own."""
    policy = policy if isinstance(policy, Policy) else Policy(credentials=policy)
    for rights in made(policy=policy):
        answer = rights.submit(**fields)
        if outcome == "pending":
            assert answer["status"] == "pending"
        else:
            assert re.match(
                r"denied: the project '\w+' may not name the credential 'prod' in ", answer
            )
            assert rights.ask("", "orders") == []


def test_a_retry_with_the_latest_workflow_names_no_credential_that_the_order_may_not() -> None:
    """Tries to have a plan of one's own replaced by a workflow of the same name."""
    policy = Policy(credentials={"prod": (CredentialUse(project="north"),)})
    for rights in made(policy=policy):
        for project, order_id in (("default", "o"), ("north", "n")):
            rights.submit("", order_id, plan=plan("flow"), project=project)
            rights.ask("", "cancel", id=order_id)
        denied = rights.ask("", "retry", id="o", run_id="o-9", latest=True)
        assert "the project 'default' may not name the credential 'prod' in 'flow'" in denied
        assert rights.ask("", "retry", id="n", run_id="n-9", latest=True)["last_run"] == "n-9"


@pytest.mark.parametrize("own", [False, True], ids=["registered", "own"])
def test_a_retry_names_no_credential_that_the_policy_has_taken_away(own: bool) -> None:
    """Tries to use for ever what was granted once, as an order was accepted with it."""
    fields = {"plan": with_credential("flow", "prod")} if own else {}
    granted = Policy(credentials={"prod": (CredentialUse(plans=own),)})
    for rights in made(policy=granted):
        for order_id in ("o", "p"):
            rights.submit("", order_id, **fields)
            rights.ask("", "cancel", id=order_id)
        assert rights.ask("", "retry", id="o", run_id="o-8")["last_run"] == "o-8"
        rights.ask("", "cancel", id="o")
        rights.harness.processor.reload(Policy(credentials={"prod": ()}), registry())
        for latest in (False, True):
            denied = rights.ask("", "retry", id="o", run_id="o-9", latest=latest)
            assert denied.startswith("denied: the project 'default' may not name the credential")
        rights.ask("", "bulk", action="retry", batch="b", workflow="flow")
        assert sorted(order["runs"] for order in rights.ask("", "orders")) == [1, 2]


def test_an_automatic_retry_names_no_credential_that_the_policy_has_taken_away() -> None:
    policy = Policy(credentials={"prod": (CredentialUse(),)})
    for rights in made(policy=policy):
        rights.submit(retry={"times": 2})
        rights.harness.processor.reload(Policy(credentials={"prod": ()}), registry())
        worker = FakeWorker(rights.harness)
        (assigned,) = worker.claim()
        worker.start(assigned.lease)
        worker.finish(assigned.lease, reason="fail")
        assert (rights.harness.order()["status"], rights.harness.order()["runs"]) == ("failed", 1)


def test_a_retry_with_the_latest_workflow_stores_no_secret_in_clear() -> None:
    registered = WorkflowRegistry()
    registered.add(load(INLINE))
    for rights in made(registry=registered):
        rights.submit(plan=plan("flow"))
        rights.ask("", "cancel", id="o")
        answer = rights.ask("", "retry", id="o", run_id="o-9", latest=True)
        assert answer.startswith("invalid: the configuration of step 'a' holds 'password'")


# --- clients --------------------------------------------------------------------------------------

CLIENTS = Policy(
    clients={
        "intake": ClientRights(may=frozenset(["submit"])),
        "reader": ClientRights(may=frozenset(["read"])),
        "north": ClientRights(may=frozenset(["submit", "plan", "read", "cancel", "retry"]), projects=frozenset(["north"])),
        "boss": ClientRights(may=frozenset(["submit", "plan", "read", "cancel", "retry"])),
    }
)  # fmt: skip
READS = ("orders", "runs", "workers", "alerts", "summary", "workflows")


def test_a_client_requests_what_the_policy_grants_and_nothing_else() -> None:
    """Tries each request as a user without the right to it, without a name, and as ``*``."""
    for rights in made(policy=CLIENTS):
        assert rights.submit("boss")["status"] == "pending"
        ids = {"cancel": {"id": "o"}, "retry": {"id": "o", "run_id": "r"}, "run": {"id": "o"},
               "order": {"order_id": "o"}, "events": {"run_id": "o"}}  # fmt: skip
        for method, fields in (ids | {key: {} for key in READS}).items():
            for user in ("intake", "", "stranger"):
                answer = rights.ask(user, method, **fields)
                assert re.fullmatch(rf"denied: '{user}' may not \w+ \(policy: clients\)", answer)
        for method in ("cancel", "retry"):
            assert rights.ask("reader", method, **ids[method]).startswith("denied: ")
        assert rights.submit("reader", "o2").startswith("denied: ")
        assert "plan of your own" in rights.submit("intake", "o2", plan=plan())
        assert len(rights.ask("reader", "orders")) == 1


@pytest.mark.parametrize("user", ["intake", "north"])
def test_an_id_of_somebody_elses_order_tells_nothing(user: str) -> None:
    """Tries to read an order by submitting its id again, with the same or with other content."""
    for rights in made(policy=CLIENTS):
        state = {"data": {"patient": "P-1"}}
        rights.submit("boss", input=state)
        rights.ask("boss", "cancel", id="o")
        fields: dict[str, Any] = {"project": "north"} if user == "north" else {}
        others: list[dict[str, Any]] = [{"data": {}}, {"data": {"patient": "P-2"}}]
        for other in others:
            answer = rights.submit(user, input=other, **fields)
            assert answer == "conflict: the id 'o' is in use already"
        assert "in use already" in rights.submit(user, "o-1", **fields), "nor does a run's"
        if user == "intake":
            assert rights.submit(user, input=state)["status"] == "pending", "no status of others"


def test_a_client_gets_a_receipt_of_its_own_order_and_again_when_it_repeats_it() -> None:
    for rights in made(policy=CLIENTS):
        first = rights.submit("intake", input={"data": 1})
        rights.ask("boss", "cancel", id="o")
        again = rights.submit("intake", input={"data": 1})
        assert first == again
        assert first["status"] == "pending" and first["run"] is None
        assert len(rights.ask("boss", "orders")) == 1


def test_a_client_of_one_project_acts_in_no_other() -> None:
    """Tries each request on an order of another project, and on one that does not exist."""
    for rights in made(policy=CLIENTS):
        assert rights.submit("boss", "o", project="south")["status"] == "pending"
        assert rights.submit("north", "mine", project="north")["status"] == "pending"
        denied = "denied: only for the projects north (policy: clients)"
        assert rights.submit("north", "o2", project="south") == denied
        for id in ("o", "o-1", "absent"):
            assert rights.ask("north", "run", id=id) == denied
            assert rights.ask("north", "cancel", id=id) == denied
            assert rights.ask("north", "events", run_id=id) == denied
            assert rights.ask("north", "order", order_id=id) == denied
            assert rights.ask("north", "retry", id=id, run_id="x") == denied
        for method in ("orders", "runs", "summary", "alerts", "workers"):
            assert rights.ask("north", method) == denied
        assert rights.ask("north", "orders", project="north")[0]["order_id"] == "mine"
        assert rights.ask("north", "run", id="mine")["status"] == "pending"


def test_a_policy_file_holds_all_of_it(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(
        "credentials:\n  prod: [{project: north, workflow: Referral}, {plans: true}]\n"
        "clients:\n  intake: {may: [submit]}\n  '*': {may: [read], projects: [open]}\n"
    )
    policy = read_policy(file)
    assert policy.may_name("prod", "north", "Referral") and policy.may_name("prod", "x", None)
    assert not policy.may_name("prod", "south", "Other") or policy.credentials["prod"][1].plans
    assert policy.rights_of("intake").may == {"submit"}
    assert policy.rights_of("anybody").projects == frozenset({"open"})
    for wrong in ("clients: {a: {may: [fly]}}", "credentials: {prod: [{who: me}]}", "client: {}"):
        file.write_text(wrong)
        with pytest.raises(LoadError, match=r"policy\.yaml:1:\d+: "):
            read_policy(file)


# --- secrets at rest ------------------------------------------------------------------------------

INLINE = with_credential("flow", {"username": "nurse", "password": SECRET})
INPUT = {"data": {}, "configuration": {"token": SECRET}}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"plan": INLINE}, "the configuration of step 'a' holds 'password'"),
        ({"plan": with_credential("flow", {"nested": {"x": 1}})}, "holds 'nested'"),
        ({"plan": with_credential("flow", {"url": "https://u:p@h/"})}, "holds 'url'"),
        ({"input": INPUT}, "the configuration of the input holds 'token'"),
    ],
)  # fmt: skip
def test_a_secret_that_would_be_stored_in_clear_is_refused(
    fields: dict[str, Any], named: str
) -> None:
    """Tries to leave a secret in the database, for whoever reads a backup of it."""
    for rights in made():
        answer = rights.submit(**fields)
        assert named in answer and "--secret-key-file" in answer
        assert SECRET not in answer
        assert rights.ask("", "orders") == []


def test_the_marked_name_of_a_credential_is_no_secret_and_nothing_else_may_stand_there() -> None:
    """Tries to leave a secret in the place of the name."""
    policy = Policy(credentials={"prod": (CredentialUse(plans=True),)})
    for rights in made(policy=policy):
        named = with_credential("flow", {"$CREDENTIALS$": "prod", "username": "nurse"})
        assert rights.submit(plan=named)["status"] == "pending"
        for value in ({"password": SECRET}, [SECRET], 5):
            forged = with_credential("flow", {"$CREDENTIALS$": value})
            answer = rights.submit(order_id="o2", plan=forged)
            assert isinstance(answer, str) and answer.startswith(("invalid: ", "denied: "))
        shared = plan("flow")
        shared["workflow"]["credentials"] = {"$CREDENTIALS$": SECRET}
        answer = rights.submit(order_id="o2", plan=shared)
        assert "workflow.credentials holds '$CREDENTIALS$'" in answer


def test_open_keys_are_stored_as_they_are() -> None:
    for rights in made():
        open_keys = {"baseUrl": "https://h/", "username": "nurse", "port": 5432}
        assert rights.submit(plan=with_credential("flow", open_keys))["status"] == "pending"
        assert json.loads(bytes(rights.assigned().plan))["workflow"]["steps"][0]["configuration"] == open_keys  # fmt: skip


def test_with_a_key_a_secret_is_encrypted_at_rest_and_whole_at_the_worker(tmp_path: Path) -> None:
    """Tries to find the secret in the files of the database."""
    keys = tmp_path / "keys"
    keys.write_text(f"{Fernet.generate_key().decode()}\n{Fernet.generate_key().decode()}\n")
    folder = tmp_path / "db"
    options = {"url": f"sqlite:///{folder}/orders.db"}
    secrets = InlineSecrets(key=read_secret_keys(keys))
    for rights in made(secrets_at_rest=secrets, **options):
        assert rights.submit(plan=INLINE, input=INPUT)["status"] == "pending"
        assert SECRET not in json.dumps(rights.ask("", "run", id="o"))
        run = rights.assigned()
        steps = json.loads(bytes(run.plan))["workflow"]["steps"]
        assert steps[0]["configuration"] == {"username": "nurse", "password": SECRET}
        assert json.loads(bytes(run.input)) == INPUT
        assert not any(SECRET.encode() in file.read_bytes() for file in folder.iterdir())


def test_a_lost_key_is_no_defect_and_no_silent_run() -> None:
    """Tries to start again without the key: the step names a credential that nobody holds."""
    sealed = InlineSecrets(key=_multi()).seal_plan(msgspec.json.encode(INLINE).decode())
    for other in (InlineSecrets(), InlineSecrets(key=_multi())):
        opened = json.loads(other.open_plan(sealed))
        assert opened["workflow"]["steps"][0]["configuration"] == KEY_LOST
    # Without the credentials of the workflow, no step may run either.
    shared = plan("flow")
    shared["workflow"]["credentials"] = {"password": SECRET}
    sealed = InlineSecrets(key=_multi()).seal_plan(msgspec.json.encode(shared).decode())
    assert SECRET not in sealed
    loaded = load(json.loads(InlineSecrets().open_plan(sealed)))
    _, missing = configurations(loaded, {})
    assert missing == {step.id: KEY_LOST for step in loaded.steps}
    # What looks encrypted and is not is a configuration like any other.
    forged = with_credential("flow", {"$encrypted": "x"})
    vault = InlineSecrets(key=_multi())
    text = msgspec.json.encode(forged).decode()
    assert json.loads(vault.open_plan(vault.seal_plan(text))) == forged


def _multi() -> Any:
    from cryptography.fernet import MultiFernet

    return MultiFernet([Fernet(Fernet.generate_key())])


def test_wrong_keys_are_a_usage_error(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("not a key")
    done = call_worker("control-plane", "--secret-key-file", keys)
    assert done.returncode == 2 and "expected keys of 32 bytes" in done.stderr
    assert "not a key" not in done.stderr
    done = call_worker("control-plane", "--secret-key-file", keys, "--allow-inline-secrets")
    assert done.returncode == 2
    (tmp_path / "empty").touch()
    with pytest.raises(UsageError):
        read_secret_keys(tmp_path / "empty")


@pytest.mark.slow
async def test_a_fleet_in_one_process_allows_everything_and_logs_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "worker")
    async with worker.local_fleet(capacity=1) as client:
        order = await client.submit(plan=INLINE)
        assert order["status"] == "pending"
    assert "policy.allows_everything" in caplog.messages
    async with worker.local_fleet(capacity=1, policy=Policy()) as client:
        with pytest.raises(worker.ControlError, match="may not name the credential 'prod'"):
            await client.submit(plan=with_credential("flow", "prod"))
    assert caplog.messages.count("policy.allows_everything") == 1
