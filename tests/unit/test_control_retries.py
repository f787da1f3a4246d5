"""Automatic retries: which runs are repeated, when, from where, and who decides that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.command import ROOT
from tests.support.control_plane_harness import (
    SECOND,
    ControlPlaneHarness,
    FakeWorker,
    event,
    plan,
)
from worker.fleet.control.policy import Policy, ProjectLimits, read_policy
from worker.workflow.load import load
from worker.workflow.order_retry import OrderRetry

TWICE: dict[str, Any] = {"times": 2, "after_s": 10, "jitter": 0}


def fail(harness: ControlPlaneHarness, reason: str = "fail", error_type: str = "JobError") -> None:
    """Let a worker claim the next run, and end it badly at step b."""
    worker = FakeWorker(harness)
    (assigned,) = worker.claim()
    lease = assigned.lease
    ends = {"reason": reason, "error_type": error_type, "error_message": "no"}
    events = [
        event(lease.run_id, 0, "run:start"),
        event(lease.run_id, 1, "step:start"),
        event(lease.run_id, 2, "step:complete", output_dataclip_id="clip-1",
              output_dataclip={"data": {"n": 1}}, next=["b"]),
        event(lease.run_id, 3, "step:start", step_id="s2", job_id="b", job_name="b", execution=1,
              input_dataclip_id="clip-1"),
        event(lease.run_id, 4, "step:complete", step_id="s2", job_id="b", reason=reason,
              error_type=error_type, error_message="no"),
        event(lease.run_id, 5, "run:complete", **ends),
    ]  # fmt: skip
    assert worker.acked(lease, *events).upto == 5


@pytest.mark.slow
def test_a_failed_run_is_repeated_after_growing_pauses(harness: ControlPlaneHarness) -> None:
    harness.submit(retry=TWICE)
    fail(harness)
    order = harness.order()
    assert (order["status"], order["runs"]) == ("pending", 2)
    run = harness.run()
    assert (run["retries"], run["not_before"]) == (1, harness.now - 2 + 10 * SECOND)
    harness.wait(9)
    assert harness.call("summary")["delayed"] == 1, "its pause is not over"
    harness.wait(2)
    fail(harness)
    harness.wait(19)
    assert harness.call("summary")["delayed"] == 1
    harness.wait(2)
    fail(harness)
    harness.wait(1000)
    assert (harness.order()["status"], harness.order()["runs"]) == ("failed", 3)
    assert [run["status"] for run in harness.order()["all_runs"]] == ["failed"] * 3


def test_the_last_run_decides_the_status_of_the_order(harness: ControlPlaneHarness) -> None:
    harness.submit(retry=TWICE)
    fail(harness)
    harness.wait(11)
    worker = FakeWorker(harness)
    (assigned,) = worker.claim()
    worker.start(assigned.lease)
    worker.finish(assigned.lease)
    assert (harness.order()["status"], harness.order()["runs"]) == ("success", 2)


def test_a_repeated_report_of_the_end_adds_one_run(harness: ControlPlaneHarness) -> None:
    harness.submit(retry=TWICE)
    worker = FakeWorker(harness)
    (assigned,) = worker.claim()
    worker.start(assigned.lease)
    for _ in range(3):
        worker.finish(assigned.lease, reason="fail")
    assert harness.order()["runs"] == 2


@pytest.mark.parametrize(
    ("errors", "reason", "repeated"),
    [
        (["failed"], "fail", True),
        (["failed"], "crash", False),
        (["JobError"], "fail", True),
        (["TimeoutError"], "fail", False),
        (None, "exception", True),
        (None, "kill", False),
    ],
)
def test_only_listed_statuses_and_errors_are_repeated(
    harness: ControlPlaneHarness, errors: list[str] | None, reason: str, repeated: bool
) -> None:
    harness.submit(retry={**TWICE, **({} if errors is None else {"errors": errors})})
    fail(harness, reason)
    assert (harness.order()["runs"] == 2) is repeated


def test_a_retry_from_the_failed_step_has_its_recorded_input(harness: ControlPlaneHarness) -> None:
    harness.submit(retry={**TWICE, "from": "failed_step"})
    fail(harness)
    assert harness.run()["start"] == "b"
    harness.wait(11)
    (assigned,) = FakeWorker(harness).claim()
    assert bytes(assigned.input) == b'{"data":{"n":1}}'
    assert assigned.options.start == "b"


def test_a_cancelled_run_and_a_cancelled_retry_are_not_repeated(
    harness: ControlPlaneHarness,
) -> None:
    harness.submit(retry=TWICE)
    fail(harness)
    assert harness.call("cancel", id="o")["status"] == "cancelled"
    harness.wait(100)
    assert (harness.order()["status"], harness.order()["runs"]) == ("cancelled", 2)


@pytest.mark.parametrize(("idempotent", "runs"), [(True, 2), (False, 1)])
def test_a_lost_run_is_repeated_where_its_workflow_is_idempotent(
    harness: ControlPlaneHarness, idempotent: bool, runs: int
) -> None:
    flow = plan()
    flow["options"] = {"retry": {"times": 1, "after_s": 5}, "idempotent": idempotent}
    harness.started(plan=flow)
    harness.wait(12)
    order = harness.order()
    assert order["all_runs"][0]["status"] == "lost"
    assert order["runs"] == runs
    assert harness.run()["retries"] == runs - 1


def test_the_most_specific_policy_counts(harness: ControlPlaneHarness) -> None:
    limits = ProjectLimits(
        retry=OrderRetry(times=1, after_s=1, jitter=0),
        retries={"flow": OrderRetry(times=1, after_s=2, jitter=0)},
    )
    harness.restart(policy=Policy(projects={"p": limits}))
    own = plan("own")
    own["options"] = {"retry": {"times": 1, "after_s": 3, "jitter": 0}}
    pauses = []
    orders: list[dict[str, Any]] = [
        {"workflow": "other"}, {"workflow": "flow"}, {"plan": own}, {"retry": TWICE},
    ]  # fmt: skip
    for number, fields in enumerate(orders):
        order_id = f"o{number}"
        harness.submit(order_id, project="p", **fields)
        fail(harness)
        pauses.append(round((harness.run(order_id)["not_before"] - harness.now) / SECOND))
        harness.call("cancel", id=order_id)
    assert pauses == [1, 2, 3, 10]


def test_pauses_grow_to_their_limit_and_spread() -> None:
    policy = OrderRetry(times=100, after_s=10, factor=3, max_after_s=100, jitter=0.2)
    assert [policy.pause_s(n, 0.5) for n in (0, 1, 2, 3, 99)] == [10, 30, 90, 100, 100]
    assert (policy.pause_s(0, 0), policy.pause_s(0, 1)) == (8, 12)


@pytest.mark.parametrize(
    ("retry", "problem"),
    [
        ({"times": -1}, "retry: times: expected a whole number of at least 0"),
        ({"time": 2}, "retry: unknown key 'time'; did you mean 'times'?"),
        ("often", "retry: expected a mapping, found text"),
    ],
)
def test_a_wrong_policy_of_a_workflow_names_its_place(retry: Any, problem: str) -> None:
    flow = plan()
    flow["options"] = {"retry": retry}
    with pytest.raises(Exception, match="options") as raised:
        load(flow)
    assert problem in str(raised.value)


def test_a_number_of_times_is_a_policy() -> None:
    flow = plan()
    flow["options"] = {"retry": 3}
    assert load(flow).options["retry"]["times"] == 3


def test_the_policy_of_the_documentation_is_read(tmp_path: Path) -> None:
    text = (ROOT / "docs/how-to/operate.md").read_text()
    file = tmp_path / "policy.yaml"
    file.write_text(text.partition("<!-- file policy.yaml -->\n```yaml\n")[2].partition("```")[0])
    limits = read_policy(file).of("north")
    assert limits.retries["Referral"].origin == "failed_step"
    assert limits.retry is not None and limits.retry.times == 3
