"""Cancelling and retrying runs. On both databases."""

from __future__ import annotations

import msgspec
import pytest

from tests.support.control_plane_harness import ControlPlaneHarness, FakeWorker, event, request
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.control.workflow_registry import WorkflowRegistry
from worker.fleet.messaging.worker_protocol import AssignedRun, Attempt, Command
from worker.workflow.load import load

LEASE_S = Settings().lease_s


def attempt(run_id: str, number: int = 1) -> Attempt:
    return Attempt(run_id=run_id, attempt=number)


# --- cancel ---------------------------------------------------------------------------------------


def test_a_run_that_waits_is_cancelled_at_once(harness: ControlPlaneHarness) -> None:
    harness.submit("o")
    published = harness.send(request("cancel", id="o"))
    assert published.statuses == ["cancelled"] and not published.commands and not published.alerts
    assert FakeWorker(harness).claim() == []


@pytest.mark.parametrize("phase", ["claimed", "started"])
def test_the_worker_of_a_leased_run_gets_a_command_and_confirms(
    harness: ControlPlaneHarness, phase: str
) -> None:
    worker, lease = getattr(harness, phase)()
    published = harness.send(request("cancel", id="o-1"))
    assert published.commands == [Command(cancel=[attempt("o-1")])] and not published.states
    published = worker.report(
        lease, *[event("o-1", n, "run:complete", reason="cancel") for n in (0, 1)][-_next(phase) :]
    )
    assert published.statuses == ["cancelled"]


def _next(phase: str) -> int:
    return 2 if phase == "claimed" else 1


def test_a_heartbeat_repeats_a_cancel_command_that_was_lost(harness: ControlPlaneHarness) -> None:
    worker, lease = harness.started()
    harness.call("cancel", id="o")
    harness.restart()
    assert worker.heartbeat(lease).commands == [Command(cancel=[attempt("o-1")])]
    assert harness.status() == "running"


def test_a_run_that_ends_before_the_cancel_arrives_keeps_its_status(
    harness: ControlPlaneHarness,
) -> None:
    worker, lease = harness.started()
    harness.call("cancel", id="o")
    worker.finish(lease)
    assert harness.status() == "success"


@pytest.mark.parametrize("back", ["expired", "released"])
def test_a_claim_that_is_to_be_cancelled_is_cancelled_when_it_comes_back(
    harness: ControlPlaneHarness, back: str
) -> None:
    worker, lease = harness.claimed()
    harness.call("cancel", id="o")
    published = harness.wait(LEASE_S) if back == "expired" else worker.release(lease)
    assert published.statuses == ["cancelled"] and not published.alerts


def test_a_cancelled_run_whose_started_attempt_expires_is_lost(
    harness: ControlPlaneHarness,
) -> None:
    harness.started()
    harness.call("cancel", id="o")
    assert harness.wait(LEASE_S).statuses == ["lost"]


def test_a_repeated_cancel_returns_the_same_and_one_of_an_ended_run_is_a_conflict(
    harness: ControlPlaneHarness,
) -> None:
    harness.submit("o")
    assert harness.call("cancel", id="o") == harness.call("cancel", id="o")
    harness.ended("done")
    assert harness.failure("cancel", id="done").code == "conflict"
    assert harness.failure("cancel", id="nobody").code == "unknown"


# --- retry ----------------------------------------------------------------------------------------


@pytest.fixture
def walked(harness: ControlPlaneHarness) -> ControlPlaneHarness:
    """A run of two steps that failed at the second."""
    harness.submit("o", input={"data": "first"})
    worker = FakeWorker(harness)
    (run,) = worker.claim()
    worker.report(
        run.lease,
        event("o-1", 0, "run:start"),
        event("o-1", 1, "step:start", input_dataclip_id="clip-0"),
        event("o-1", 2, "step:complete", output_dataclip_id="clip-1", output_dataclip={"data": 2}),
        event("o-1", 3, "step:start", step_id="s2", job_id="b", input_dataclip_id="clip-1"),
        event("o-1", 4, "step:complete", step_id="s2", job_id="b", reason="fail"),
        event("o-1", 5, "run:complete", reason="fail"),
    )
    return harness


def test_a_retry_is_a_new_run_with_the_input_of_the_order(walked: ControlPlaneHarness) -> None:
    found = walked.call("retry", id="o", run_id="again")
    assert (found["status"], found["runs"], found["last_run"]) == ("pending", 2, "again")
    (run,) = FakeWorker(walked).claim()
    assert (run.lease.run_id, bytes(run.input)) == ("again", b'{"data":"first"}')
    assert run.options.start == ""
    assert walked.status("o-1") == "failed"


def test_a_retry_from_a_step_has_its_recorded_input(walked: ControlPlaneHarness) -> None:
    walked.call("retry", id="o", run_id="again", from_step="b")
    (run,) = FakeWorker(walked).claim()
    assert (bytes(run.input), run.options.start) == (b'{"data":2}', "b")
    assert walked.status("again") == "pending"


def test_a_retry_from_the_first_step_has_the_input_of_the_run(walked: ControlPlaneHarness) -> None:
    walked.call("retry", id="o", run_id="again", from_step="a")
    (run,) = FakeWorker(walked).claim()
    assert (bytes(run.input), run.options.start) == (b'{"data":"first"}', "a")


def test_a_retry_of_a_retry_from_its_step_has_the_same_input(walked: ControlPlaneHarness) -> None:
    walked.call("retry", id="o", run_id="again", from_step="b")
    worker = FakeWorker(walked)
    (run,) = worker.claim()
    start = event("again", 0, "step:start", job_id="b", input_dataclip_id="clip-9")
    worker.report(run.lease, start, event("again", 1, "run:complete", reason="fail"))
    walked.call("retry", id="o", run_id="third", from_step="b")
    (third,) = worker.claim()
    assert (bytes(third.input), third.options.start) == (b'{"data":2}', "b")


def test_ids_as_long_as_uuids_can_be_retried_from_a_step(harness: ControlPlaneHarness) -> None:
    order_id, clip = "5" * 64, "c" * 64
    harness.submit(order_id)
    worker = FakeWorker(harness)
    (run,) = worker.claim()
    id = run.lease.run_id
    worker.report(
        run.lease,
        event(id, 0, "step:start"),
        event(id, 1, "step:complete", output_dataclip_id=clip, output_dataclip={"data": 2}),
        event(id, 2, "step:start", job_id="b", input_dataclip_id=clip),
        event(id, 3, "run:complete", reason="fail"),
    )
    harness.call("retry", id=order_id, run_id="again", from_step="b")
    (again,) = worker.claim()
    assert bytes(again.input) == b'{"data":2}'


def test_a_step_that_did_not_run_cannot_be_retried_from(walked: ControlPlaneHarness) -> None:
    before = walked.dump()
    failure = walked.failure("retry", id="o", run_id="again", from_step="c")
    assert failure.code == "unknown" and "'c'" in failure.message
    assert walked.dump() == before


def test_a_step_whose_input_was_withheld_cannot_be_retried_from(
    harness: ControlPlaneHarness,
) -> None:
    worker, lease = harness.started()
    worker.report(
        lease,
        event("o-1", 1, "step:start"),
        event("o-1", 2, "step:complete", output_dataclip_id="clip-1", withheld=True),
        event("o-1", 3, "step:start", job_id="b", input_dataclip_id="clip-1"),
        event("o-1", 4, "run:complete", reason="fail"),
    )
    failure = harness.failure("retry", id="o", run_id="again", from_step="b")
    assert failure.code == "unknown"
    assert "withheld" in failure.message and "payload limit" in failure.message
    assert "did not run" not in failure.message


@pytest.mark.parametrize("phase", ["submit", "claimed", "started"])
def test_a_retry_of_what_is_under_way_is_a_conflict(
    harness: ControlPlaneHarness, phase: str
) -> None:
    getattr(harness, phase)("o")
    before = harness.dump()
    assert harness.failure("retry", id="o", run_id="again").code == "conflict"
    assert harness.dump() == before


def test_the_same_retry_twice_makes_one_run(walked: ControlPlaneHarness) -> None:
    first = walked.call("retry", id="o", run_id="again")
    assert walked.call("retry", id="o", run_id="again") == first
    published = walked.send(*[request("retry", id="o", run_id="again")] * 2)
    assert not published.states and len(published.replies) == 2
    assert walked.order()["runs"] == 2


def test_two_retries_at_once_make_one_run(walked: ControlPlaneHarness) -> None:
    published = walked.send(*(request("retry", id="o", run_id=id) for id in ("again", "more")))
    assert [reply.error and reply.error.code for reply in published.replies] == [None, "conflict"]


def test_a_retry_with_the_id_of_another_orders_run_is_a_conflict(
    walked: ControlPlaneHarness,
) -> None:
    walked.submit("other")
    before = walked.dump()
    for run_id in ("other-1", "other"):
        assert walked.failure("retry", id="o", run_id=run_id).code == "conflict"
    assert walked.dump() == before


def test_an_order_has_the_status_of_its_last_run(walked: ControlPlaneHarness) -> None:
    walked.call("retry", id="o", run_id="again")
    assert walked.order()["status"] == "pending"
    worker = FakeWorker(walked)
    (run,) = worker.claim()
    worker.start(run.lease)
    assert walked.order()["status"] == "running"
    worker.finish(run.lease)
    assert walked.order()["status"] == "success"
    assert [run["status"] for run in walked.order()["all_runs"]] == ["failed", "success"]


# --- the workflow of a retry ----------------------------------------------------------------------


def mended(*steps: str) -> WorkflowRegistry:
    """A registry whose workflow 'flow' has other steps."""
    registry = WorkflowRegistry()
    nodes = [{"id": step, "expression": "fn(s => s)"} for step in steps]
    registry.add(load({"workflow": {"name": "flow", "steps": nodes}}))
    return registry


def _steps(run: AssignedRun) -> list[str]:
    plan = msgspec.json.decode(bytes(run.plan))
    return [step["id"] for step in plan["workflow"]["steps"]]


def test_a_retry_runs_the_workflow_as_it_ran_or_as_it_is_now(walked: ControlPlaneHarness) -> None:
    walked.restart(registry=mended("a", "c"))
    worker = FakeWorker(walked)
    plan_ids = []
    for run_id, latest, steps in (
        ("as-it-ran", False, ["a", "b"]),
        ("mended", True, ["a", "c"]),
        ("as-it-ran-last", False, ["a", "c"]),
    ):
        walked.call("retry", id="o", run_id=run_id, latest=latest)
        (run,) = worker.claim()
        assert (_steps(run), bytes(run.input)) == (steps, b'{"data":"first"}')
        worker.finish(run.lease, 0, "fail")
        plan_ids.append(run.plan_id)
        shown = walked.call("run", id=run_id)["plan"]["workflow"]["steps"]
        assert [step["id"] for step in shown] == steps
    assert plan_ids[1] == plan_ids[2] != plan_ids[0]
    assert [step["id"] for step in walked.call("run", id="o-1")["plan"]["workflow"]["steps"]] == [
        "a", "b",
    ]  # fmt: skip


def test_a_retry_of_an_older_run_runs_its_workflow(walked: ControlPlaneHarness) -> None:
    walked.restart(registry=mended("a", "c"))
    walked.call("retry", id="o", run_id="mended", latest=True)
    worker = FakeWorker(walked)
    (run,) = worker.claim()
    worker.finish(run.lease, 0, "fail")
    walked.call("retry", id="o-1", run_id="third")
    (run,) = worker.claim()
    assert _steps(run) == ["a", "b"]


def test_a_retry_from_a_step_that_is_gone_or_of_a_workflow_that_is_gone_changes_nothing(
    walked: ControlPlaneHarness,
) -> None:
    walked.restart(registry=mended("a", "c"))
    before = walked.dump()
    fields = {"id": "o", "run_id": "again", "latest": True}
    failure = walked.failure("retry", **fields, from_step="b")
    assert failure.code == "invalid" and "no step 'b'" in failure.message
    walked.restart(registry=WorkflowRegistry())
    assert walked.failure("retry", **fields).code == "unknown"
    # Each start writes a checkpoint of its own.
    assert {**walked.dump(), "meta": before["meta"]} == before
