"""Run limits of projects: the rule itself, the file that sets them, and what comes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.control_plane_harness import SECOND, ControlPlaneHarness, FakeWorker, submission
from worker.errors import UsageError
from worker.fleet.control.admission import admit
from worker.fleet.control.entities import ProjectRecord
from worker.fleet.control.policy import Policy, ProjectLimits, read_policy

FREE = ProjectRecord(name="p")


def limited(**fields: object) -> Policy:
    return Policy(projects={"default": ProjectLimits(**fields)})  # type: ignore[arg-type]


# --- the rule -------------------------------------------------------------------------------------


def test_a_project_without_limits_is_only_counted() -> None:
    project, reason = admit(FREE, ProjectLimits(), 10)
    assert reason is None
    assert (project.unfinished, project.accepted) == (1, 1)


def test_a_project_has_no_more_unfinished_runs_than_its_limit() -> None:
    full = ProjectRecord(name="p", unfinished=2)
    project, reason = admit(full, ProjectLimits(concurrent=2), 10)
    assert reason == "project 'p' has 2 runs under way, and its limit is 2"
    assert project.accepted == 0
    assert admit(full, ProjectLimits(concurrent=3), 10)[1] is None


def test_a_project_has_no_more_runs_in_a_period_than_its_limit() -> None:
    limit = ProjectLimits(per_period=1, period_s=60)
    project, reason = admit(FREE, limit, 61 * SECOND)
    assert (reason, project.period_began) == (None, 60 * SECOND)
    same, reason = admit(project, limit, 119 * SECOND)
    assert reason == "project 'p' has had 1 run in this period of 60 s, and its limit is 1"
    assert same == project
    assert admit(project, limit, 120 * SECOND)[1] is None, "the next period has begun"


def test_a_limit_of_nothing_refuses_everything() -> None:
    assert admit(FREE, ProjectLimits(concurrent=0), 10)[1] is not None
    assert admit(FREE, ProjectLimits(per_period=0), 10)[1] is not None


# --- the file -------------------------------------------------------------------------------------


def test_a_policy_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "limits.yaml"
    file.write_text(
        "default: {concurrent: 5}\nprojects: {big: {per_period: 9, workflows: {sync: 1}}}\n"
    )
    policy = read_policy(file)
    assert policy.of("small").concurrent == 5
    assert (policy.of("big").concurrent, policy.of("big").per_period) == (None, 9)
    assert policy.concurrency("big", "sync") == 1
    assert policy.concurrency("big", "other") is None


@pytest.mark.parametrize("text", ["default: {concurent: 5}", "projects: [1]", "- 1"])
def test_a_wrong_policy_is_refused_with_its_place(tmp_path: Path, text: str) -> None:
    file = tmp_path / "limits.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"limits\.yaml"):
        read_policy(file)


# --- what comes of it -----------------------------------------------------------------------------


def test_an_order_over_the_limit_is_rejected_and_kept_with_the_reason(
    harness: ControlPlaneHarness,
) -> None:
    harness.restart(policy=limited(concurrent=1))
    harness.submit("first")
    published = harness.send(submission("second"))
    assert published.ended == {"rejected": 1}
    (state,) = published.orders
    assert (state.status, state.runs, state.last_run) == ("rejected", 0, None)
    assert state.reason == "project 'default' has 1 run under way, and its limit is 1"
    kept = harness.order("second")
    assert (kept["status"], kept["reason"]) == ("rejected", state.reason)
    assert [run.lease.run_id for run in FakeWorker(harness).claim(5)] == ["first-1"]


def test_a_rejected_order_stays_rejected_when_there_is_room_again(
    harness: ControlPlaneHarness,
) -> None:
    harness.restart(policy=limited(concurrent=1))
    harness.submit("first")
    harness.send(submission("second"))
    harness.call("cancel", id="first")
    assert harness.call("submit", order_id="second", workflow="flow")["status"] == "rejected"
    assert harness.submit("third")


def test_a_rejected_order_has_no_run_to_cancel_or_to_retry(harness: ControlPlaneHarness) -> None:
    harness.restart(policy=limited(concurrent=0))
    harness.send(submission("o"))
    assert "it was rejected" in harness.failure("cancel", id="o").message
    assert "it was rejected" in harness.failure("retry", id="o", run_id="again").message


def test_orders_in_one_batch_count_for_each_other(harness: ControlPlaneHarness) -> None:
    harness.restart(policy=limited(concurrent=2))
    published = harness.send(*(submission(f"o{n}") for n in range(5)))
    assert len(published.orders) == 3


def test_a_project_has_room_again_when_a_run_ends_and_not_when_it_is_claimed(
    harness: ControlPlaneHarness,
) -> None:
    harness.restart(policy=limited(concurrent=1))
    worker, lease = harness.started("first")
    assert harness.call("submit", order_id="second", workflow="flow")["status"] == "rejected"
    worker.finish(lease)
    harness.submit("third")


def test_runs_in_a_period_are_counted_and_forgotten_with_it(harness: ControlPlaneHarness) -> None:
    harness.restart(policy=limited(per_period=1, period_s=60))
    harness.submit("first")
    harness.call("cancel", id="first")
    rejected = harness.call("submit", order_id="second", workflow="flow")
    assert "in this period of 60 s" in rejected["reason"]
    harness.pass_time(60)
    harness.submit("third")


def test_the_count_of_a_period_survives_a_restart(harness: ControlPlaneHarness) -> None:
    harness.restart(policy=limited(per_period=1))
    harness.submit("first")
    harness.restart()
    assert harness.call("submit", order_id="second", workflow="flow")["status"] == "rejected"


def test_a_retry_counts_as_a_run(harness: ControlPlaneHarness) -> None:
    harness.restart(policy=limited(per_period=1))
    harness.ended("o")
    failure = harness.failure("retry", id="o", run_id="again")
    assert failure.code == "rejected"
    assert (harness.order()["status"], harness.order()["runs"]) == ("success", 1)


def test_a_limit_of_one_project_does_not_apply_to_another(harness: ControlPlaneHarness) -> None:
    harness.restart(policy=limited(concurrent=0))
    harness.submit("o", project="free")
    rejected = harness.call("submit", order_id="limited", workflow="flow")
    assert (rejected["project"], rejected["status"]) == ("default", "rejected")


def test_no_more_runs_of_a_workflow_go_at_once_than_its_limit(harness: ControlPlaneHarness) -> None:
    harness.restart(policy=limited(workflows={"flow": 2}))
    for n in range(4):
        harness.submit(f"o{n}")
    harness.submit("free", workflow="other")
    worker = FakeWorker(harness)
    given = worker.claim(9)
    assert [run.lease.run_id for run in given] == ["o0-1", "o1-1", "free-1"]
    assert worker.claim(9) == [], "the others wait"
    published = worker.report(given[0].lease, {**_end(given[0].lease.run_id)})
    assert [run.lease.run_id for answer in published.assignments for run in answer.runs] == ["o2-1"]


def _end(run_id: str) -> dict[str, object]:
    return {"type": "run:complete", "run_id": run_id, "seq": 0, "timestamp": 1, "reason": "success"}
