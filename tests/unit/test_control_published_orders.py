"""Orders that are published without a response topic, as by MQTT 3.1.1. On both databases."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.control_plane_harness import TOPICS, ControlPlaneHarness, Published, to
from worker.fleet.control.order_content import DEDUPLICATION_S
from worker.fleet.control.policy import Policy, ProjectLimits


def publish(harness: ControlPlaneHarness, **fields: Any) -> Published:
    """Publish an order, and expect no reply."""
    published = harness.send(to(TOPICS.request("submit"), {"workflow": "flow", **fields}))
    assert published.replies == []
    return published


def test_the_state_of_a_published_order_is_on_its_topic(harness: ControlPlaneHarness) -> None:
    published = publish(harness, order_id="reading-7", input={"data": {"t": 21.5}})
    assert [(state.order_id, state.status) for state in published.orders] == [
        ("reading-7", "pending")
    ]
    assert published.statuses == ["pending"] and not published.refusals


def test_an_id_of_ones_own_makes_a_repetition_the_same_order_and_other_content_a_conflict(
    harness: ControlPlaneHarness,
) -> None:
    publish(harness, order_id="o", input={"data": 1})
    assert not publish(harness, order_id="o", input={"data": 1}).orders
    assert publish(harness, order_id="o", input={"data": 2}).kinds == ["conflict"]
    assert len(harness.call("orders")) == 1


def test_without_an_id_the_same_content_within_a_minute_is_one_order(
    harness: ControlPlaneHarness,
) -> None:
    for _ in range(4):
        publish(harness, input={"data": 1})
        harness.pass_time(DEDUPLICATION_S / 4 - 0.1)
    publish(harness, input={"data": 2})
    assert len(harness.call("orders")) == 2
    harness.pass_time(1)
    publish(harness, input={"data": 1})
    assert len(harness.call("orders")) == 3


def test_a_field_of_a_newer_publisher_is_ignored(harness: ControlPlaneHarness) -> None:
    (state,) = publish(harness, order_id="o", surprise=1).orders
    assert state.status == "pending"


def test_a_rejection_is_on_the_topic_of_the_order(harness: ControlPlaneHarness) -> None:
    harness.restart(policy=Policy(default=ProjectLimits(concurrent=0)))
    (state,) = publish(harness, order_id="o").orders
    assert (state.status, state.reason is None) == ("rejected", False)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [({"workflow": "nothing"}, "unknown"), ({"input": []}, "invalid"), ({"tags": 1}, "malformed")],
)
def test_what_cannot_be_accepted_is_refused_once(
    harness: ControlPlaneHarness, fields: dict[str, Any], kind: str
) -> None:
    assert publish(harness, **fields).kinds == [kind]
    assert harness.call("orders") == []


def test_other_requests_need_a_response_topic(harness: ControlPlaneHarness) -> None:
    harness.submit("o")
    published = harness.send(to(TOPICS.request("cancel"), {"id": "o"}))
    assert published.kinds == ["reply_topic"] and harness.status() == "pending"
