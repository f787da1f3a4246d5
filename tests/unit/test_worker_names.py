"""Names of workers: one incarnation has a name at a time, and the other ends or waits."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.control_plane_harness import (
    SECOND,
    TOPICS,
    ControlPlaneHarness,
    FakeWorker,
    decode_outgoing,
    event,
    plan,
    to,
)
from worker.errors import UsageError
from worker.fleet.control.policy import Policy, ProjectLimits
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.control.workflow_registry import WorkflowRegistry
from worker.fleet.messaging.worker_protocol import NameRefusal
from worker.fleet.worker.name_claim import GRANTED_AFTER_S, NAME_WAIT_S, NameClaim
from worker.fleet.worker.outbox import Outbox
from worker.workflow.load import load

LEASE_S = Settings().lease_s


def both(harness: ControlPlaneHarness) -> tuple[FakeWorker, FakeWorker]:
    first, second = FakeWorker(harness, incarnation="i1"), FakeWorker(harness, incarnation="i2")
    first.birth(host="north.example")
    return first, second


def test_a_name_belongs_to_the_incarnation_that_was_first(harness: ControlPlaneHarness) -> None:
    first, second = both(harness)
    refused = second.birth()
    assert refused.kinds == ["taken"]
    (command,) = refused.commands
    assert command.refused is not None
    assert (command.refused.incarnation, command.refused.holder) == ("i2", "i1")
    assert command.refused.host == "north.example"
    harness.submit("o")
    claimed = second.send("claim", claim_id="c", demand=1, incarnation="i2")
    assert claimed.kinds == ["taken"] and claimed.assignments == []
    assert second.send("beat", incarnation="i2", leases=[]).kinds == ["taken"]
    assert len(first.claim()) == 1, "the holder has not noticed"
    (row,) = harness.call("workers")
    assert row["incarnation"] == "i1"


@pytest.mark.parametrize("ends", ["will", "silence"])
def test_a_name_is_free_once_its_holder_is_gone(harness: ControlPlaneHarness, ends: str) -> None:
    first, second = both(harness)
    if ends == "will":
        first.will()
    else:
        harness.wait(LEASE_S)
    assert second.birth().kinds == []
    assert first.send("claim", claim_id="c", demand=1, incarnation="i1").kinds == ["taken"]


def test_a_holder_keeps_its_name_by_claims_and_heartbeats(harness: ControlPlaneHarness) -> None:
    first, second = both(harness)
    for _ in range(4):
        harness.wait(LEASE_S / 2)
        first.heartbeat()
        assert second.birth().kinds == ["taken"]


def test_a_retained_birth_of_another_takes_no_name(harness: ControlPlaneHarness) -> None:
    first, _ = both(harness)
    harness.wait(LEASE_S)
    late = {"incarnation": "i2", "online": True}
    published = harness.send(to(TOPICS.worker("north", "status"), late, retain=True))
    assert published.kinds == ["stale"], "it was published some time ago"
    assert first.claim() == []


def test_a_clock_that_is_set_back_keeps_no_name(harness: ControlPlaneHarness) -> None:
    _, second = both(harness)
    now, harness.now = harness.now, harness.now - 3600 * SECOND
    assert second.birth().kinds == []
    harness.now = now + 1


REFUSAL = NameRefusal(incarnation="i2", holder="i1", host="north.example", since=10**15)


def test_the_second_worker_waits_a_while_and_ends_with_the_holders_data() -> None:
    claim = NameClaim("north", "i2")
    claim.refuse(REFUSAL, 0.0)
    assert claim.birth_due(1.0) and not claim.birth_due(1.5) and claim.birth_due(2.0)
    with pytest.raises(UsageError, match=r"'north' is taken .* i1 on north.example, since 2001-09"):
        claim.refuse(REFUSAL, NAME_WAIT_S + 0.1)


def test_a_worker_on_standby_waits_until_no_refusal_comes() -> None:
    claim = NameClaim("north", "i2", standby=True)
    for second in range(int(NAME_WAIT_S) * 2):
        claim.refuse(REFUSAL, float(second))
        assert claim.refused
    assert not claim.birth_due(second + GRANTED_AFTER_S + 0.1)
    assert claim.refused == ""


# --- several control planes -----------------------------------------------------------------------


@pytest.fixture
def planes(harness: ControlPlaneHarness) -> tuple[ControlPlaneHarness, ControlPlaneHarness]:
    """Provide two control planes that share a store."""
    if harness.store.dialect != "postgresql":
        pytest.skip("several control planes need PostgreSQL")
    harness.restart(settings=Settings(shared=True))
    other = ControlPlaneHarness(harness.store, settings=Settings(shared=True))
    harness.pass_time(60)
    other.now = harness.now
    return harness, other


def test_a_claim_that_all_hear_is_answered_once(
    planes: tuple[ControlPlaneHarness, ControlPlaneHarness],
) -> None:
    one, two = planes
    claim = {"claim_id": "c", "demand": 2, "incarnation": "i1"}
    for plane in planes:
        assert FakeWorker(plane).send("claim", **claim).assignments == []
    two.submit("a")  # which the plane that accepts it assigns at once
    one.submit("b")
    # Without a need, as the first response may be on its way.
    assert FakeWorker(one).send("claim", **claim).assignments == []
    ((first,),) = [
        assignment.runs
        for assignment in FakeWorker(two).send("claim", **claim, repeated=True).assignments
    ]
    assert first.order_id == "a"
    assert one.status("b") == "pending"
    # The worker's next claim gets the other one, from either of them.
    (second,) = FakeWorker(one).claim(1, "d")
    assert second.order_id == "b" and one.run("b")["attempt"] == 1


def test_a_heartbeat_that_all_hear_renews_and_a_suspended_plane_loses_nothing(
    planes: tuple[ControlPlaneHarness, ControlPlaneHarness],
) -> None:
    one, two = planes
    worker, lease = one.started()
    beats = FakeWorker(two)
    for _ in range(6):
        # The first plane is suspended; the second hears all heartbeats.
        two.now = max(two.now, one.now)
        two.wait(LEASE_S / 4)
        beats.heartbeat(lease)
    one.now = two.now
    one.tick()
    assert one.status() == "running"
    assert worker.finish(lease, 0).upto == 0


def test_states_have_revisions_and_are_published_again_after_a_pause(
    planes: tuple[ControlPlaneHarness, ControlPlaneHarness],
) -> None:
    one, two = planes
    worker, lease = one.claimed()
    one.tick()
    two.now = one.now
    started = worker.request_start(lease)
    ended = FakeWorker(two).report(lease, *_whole(lease.run_id))
    revisions = [state.revision for state in (*started.states, *ended.states)]
    assert revisions == sorted(revisions) and len(set(revisions)) == len(revisions)
    # The first was suspended after its commit: what it publishes then is older.
    one.now = two.now + 5 * SECOND
    again = decode_outgoing(one.processor.tick(one.now))
    assert {state.status for state in again.states} == {"success"}


def _whole(run_id: str) -> list[dict[str, object]]:
    return [event(run_id, 0, "run:start"), event(run_id, 1, "run:complete", reason="success")]


# --- versions -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "advice"),
    [(0, "update the worker to the version of the control plane"),
     (2, "update the control plane to the version of the worker")],
)  # fmt: skip
def test_a_worker_of_another_protocol_gets_no_runs_and_is_told_what_to_do(
    harness: ControlPlaneHarness, protocol: int, advice: str
) -> None:
    harness.submit("o")
    worker = FakeWorker(harness)
    published = worker.send("claim", claim_id="c", demand=1, incarnation="i1", protocol=protocol)
    assert published.kinds == ["outdated"] and published.assignments == []
    assert advice in published.commands[0].outdated
    assert len(worker.claim()) == 1


def test_unknown_fields_of_newer_peers_are_ignored(harness: ControlPlaneHarness) -> None:
    worker = FakeWorker(harness)
    assert worker.birth(labels=["clinic"]).kinds == []
    published = harness.send(
        to(TOPICS.request("submit"), {"order_id": "o", "workflow": "flow", "later": {"x": [1]}},
           reply_to=TOPICS.client("me"))
    )  # fmt: skip
    assert published.replies[0].error is None
    (run,) = worker.claim()
    assert worker.send("start", incarnation="i1", leases=[run.lease], why="x").starts[0].started


def test_workflows_and_policy_are_replaced_at_run_time(harness: ControlPlaneHarness) -> None:
    assert harness.failure("submit", order_id="a", workflow="later").code == "unknown"
    registry = WorkflowRegistry()
    registry.add(load(plan("later")))
    limits = Policy(default=ProjectLimits(concurrent=1))
    harness.processor.reload(limits, registry)
    assert harness.call("submit", order_id="a", workflow="later")["status"] == "pending"
    assert harness.call("submit", order_id="b", workflow="later")["status"] == "rejected"
    assert harness.failure("submit", order_id="c", workflow="flow").code == "unknown"


def test_whoever_takes_over_the_outbox_of_a_worker_that_died_has_its_name_at_once(
    harness: ControlPlaneHarness, tmp_path: Path
) -> None:
    first = Outbox(tmp_path)
    assert first.succeed("i1") == ""
    FakeWorker(harness, incarnation="i1").birth()
    first.close()
    second = Outbox(tmp_path)
    assert second.succeed("i2") == "i1"
    taken = FakeWorker(harness, incarnation="i2").birth(succeeds="i1")
    assert taken.kinds == []
    assert FakeWorker(harness, incarnation="i3").birth(succeeds="i1").kinds == ["taken"]
    second.close()
