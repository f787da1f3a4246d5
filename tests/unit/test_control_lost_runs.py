"""New runs after lost ones, for workflows that are idempotent. On both databases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.control_plane_harness import ControlPlaneHarness, FakeWorker, Published, plan
from worker.fleet.control.policy import Policy, ProjectLimits
from worker.fleet.control.unit_of_work import Settings
from worker.workflow.load import load

LEASE_S = Settings().lease_s
IDEMPOTENT = {**plan(), "options": {"idempotent": True}}


def lose(harness: ControlPlaneHarness) -> Published:
    """Let a worker start the run that waits, and be silent."""
    worker = FakeWorker(harness)
    (run,) = worker.claim()
    worker.request_start(run.lease)
    return harness.wait(LEASE_S + 1)


def test_a_lost_run_of_an_idempotent_workflow_is_followed_by_a_new_one(
    harness: ControlPlaneHarness,
) -> None:
    harness.submit(plan=IDEMPOTENT, input={"data": 1}, priority=3)
    published = lose(harness)
    assert published.statuses == ["lost", "pending"]
    assert [alert.run_id for alert in published.alerts] == ["o-1"]
    assert harness.status("o-1") == "lost"
    assert (harness.order()["status"], harness.order()["last_run"]) == ("pending", "o-2")
    worker = FakeWorker(harness)
    (again,) = worker.claim()
    assert (bytes(again.input), again.lease.attempt) == (b'{"data":1}', 1)
    worker.request_start(again.lease)
    worker.finish(again.lease, 0)
    assert harness.order()["status"] == "success" and harness.status("o-1") == "lost"


@pytest.mark.parametrize("retries", [0, 2])
def test_it_is_done_again_at_most_so_often(harness: ControlPlaneHarness, retries: int) -> None:
    harness.restart(settings=Settings(lost_retries=retries))
    harness.pass_time(60)
    harness.submit(plan=IDEMPOTENT)
    for _ in range(retries):
        assert lose(harness).statuses == ["lost", "pending"]
    assert lose(harness).statuses == ["lost"]
    order = harness.order()
    assert (order["status"], order["runs"]) == ("lost", retries + 1)
    assert len(harness.call("alerts")) == retries + 1


def test_a_retry_from_a_step_is_done_again_from_that_step(harness: ControlPlaneHarness) -> None:
    harness.submit(plan=IDEMPOTENT)
    worker = FakeWorker(harness)
    (run,) = worker.claim()
    worker.finish(run.lease, 0, "fail")
    harness.call("retry", id="o", run_id="again")
    lose(harness)
    (third,) = worker.claim()
    assert third.lease.run_id == "o-3"


@pytest.mark.parametrize("project", ["north", "south"])
def test_a_policy_names_workflows_that_are_idempotent(
    harness: ControlPlaneHarness, project: str
) -> None:
    limits = ProjectLimits(idempotent=frozenset({"flow"}))
    harness.restart(policy=Policy(projects={"north": limits}))
    harness.pass_time(60)
    harness.submit(project=project)
    assert (lose(harness).statuses == ["lost", "pending"]) is (project == "north")


def test_a_run_that_was_to_be_cancelled_or_is_not_idempotent_is_not_done_again(
    harness: ControlPlaneHarness,
) -> None:
    harness.submit("plain")
    assert lose(harness).statuses == ["lost"]
    harness.submit(plan=IDEMPOTENT)
    worker = FakeWorker(harness)
    (run,) = worker.claim()
    worker.request_start(run.lease)
    harness.call("cancel", id="o")
    assert harness.wait(LEASE_S + 1).statuses == ["lost"]


V3 = """
workflows:
  w:
    name: W
    idempotent: true
    jobs: {a: {name: A, adaptor: common, body: "fn(s => s)"}}
"""
V4 = """
schema_version: '4.0'
workflows:
  - {id: w, name: W, idempotent: true, steps: [{id: a, adaptor: common, expression: "fn(s => s)"}]}
"""


@pytest.mark.parametrize("text", [V3, V4])
def test_a_project_file_has_it_as_a_key_of_the_workflow(tmp_path: Path, text: str) -> None:
    file = tmp_path / "project.yaml"
    file.write_text(text)
    workflow = load(file)
    assert workflow.options == {"idempotent": True} and not workflow.warnings
    file.write_text(text.replace("true", "false"))
    assert load(file).options == {}


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_only_a_boolean_makes_a_plan_idempotent(value: Any) -> None:
    if value is None:
        assert load({**plan(), "options": {"idempotent": None}}).options == {}
        return
    with pytest.raises(Exception, match="idempotent"):
        load({**plan(), "options": {"idempotent": value}})
