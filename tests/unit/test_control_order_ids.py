"""Order ids that are used again: the same order, or a conflict. On both databases."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.control_plane_harness import ControlPlaneHarness, plan, submission
from worker.fleet.control.workflow_registry import WorkflowRegistry

ORIGINAL: dict[str, Any] = {"workflow": "flow", "input": {"data": {"a": 1, "b": [1, 2]}}}


@pytest.mark.parametrize(
    "changed",
    [
        {"workflow": "other"},
        {"workflow": None, "plan": plan()},
        {"input": {"data": {"a": 2, "b": [1, 2]}}},
        {"input": {"data": {"a": 1, "b": [2, 1]}}},
        {"project": "other"},
        {"priority": 1},
        {"options": {"start": "b"}},
    ],
    ids=lambda changed: "-".join(changed),
)
def test_the_same_id_with_other_content_is_a_conflict_that_names_both(
    harness: ControlPlaneHarness, changed: dict[str, Any]
) -> None:
    harness.submit("o", **ORIGINAL)
    before = harness.dump()
    failure = harness.failure("submit", order_id="o", **{**ORIGINAL, **changed})
    assert failure.code == "conflict" and "order o " in failure.message
    hashes = [word.strip(",") for word in failure.message.split() if len(word.strip(",")) == 16]
    assert len(set(hashes)) == 2
    assert harness.dump() == before


def test_the_same_content_gets_the_order_as_it_is_by_now(harness: ControlPlaneHarness) -> None:
    run_id = harness.submit("o", **ORIGINAL)
    same = {"workflow": "flow", "input": {"data": {"b": [1, 2], "a": 1}}, "options": {"start": ""}}
    assert harness.call("submit", order_id="o", **same)["last_run"] == run_id
    harness.call("cancel", id="o")
    assert harness.call("submit", order_id="o", **same)["status"] == "cancelled"
    assert harness.order()["runs"] == 1


def test_a_name_that_means_another_workflow_by_now_is_the_same_content(
    harness: ControlPlaneHarness,
) -> None:
    """A client retransmits its request over a restart of the control plane."""
    harness.submit("o", **ORIGINAL)
    harness.restart(registry=WorkflowRegistry())
    assert harness.call("submit", order_id="o", **ORIGINAL)["status"] == "pending"


def test_one_batch_with_an_id_twice_makes_one_order_and_one_conflict(
    harness: ControlPlaneHarness,
) -> None:
    published = harness.send(submission("o"), submission("o"), submission("o", priority=5))
    codes = [reply.error and reply.error.code for reply in published.replies]
    assert codes == [None, None, "conflict"]


@pytest.mark.parametrize("plans", [plan(), plan("named")])
def test_a_plan_is_compared_by_its_content(
    harness: ControlPlaneHarness, plans: dict[str, Any]
) -> None:
    harness.submit("o", plan=plans)
    assert harness.submit("o", plan=plans) == "o-1"
    changed = {**plans, "options": {"end": "a"}}
    assert harness.failure("submit", order_id="o", plan=changed).code == "conflict"
