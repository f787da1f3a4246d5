"""The plane, message by message, on both databases."""

from __future__ import annotations

import pytest

from tests.support.benches import (
    ME,
    TOPICS,
    Bench,
    FakeWorker,
    event,
    plan,
    request,
    submission,
    to,
)
from tests.support.helpers import job, workflow
from worker.fleet.control.lifecycle import ATTEMPTS
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.messaging import messages as wire
from worker.workflow.save import plan_of

LEASE_S, DISCONNECT_GRACE_S = Settings().lease_s, Settings().disconnect_grace_s


def attempt(run_id: str, number: int = 1) -> wire.Attempt:
    return wire.Attempt(run_id=run_id, attempt=number)


# --- orders ---------------------------------------------------------------------------------------


def test_an_order_waits_with_one_run(bench: Bench) -> None:
    published = bench.send(submission("o", priority=3, project="p"))
    assert published.statuses == ["pending"]
    order = bench.order("o")
    assert (order["status"], order["priority"], order["project"]) == ("pending", 3, "p")
    assert [run["run_id"] for run in order["all_runs"]] == ["o-1"]


def test_an_order_that_is_said_twice_is_one(bench: Bench) -> None:
    first = bench.send(submission("o"))
    for published in (bench.send(submission("o")), bench.send(submission("o"), submission("o"))):
        assert not published.states and not published.refusals
        assert [reply.ok for reply in published.replies] == [first.replies[0].ok] * len(
            published.replies
        )
    assert bench.order("o")["runs"] == 1


def test_an_order_twice_in_its_first_batch_is_one(bench: Bench) -> None:
    published = bench.send(submission("o"), submission("o"))
    assert published.statuses == ["pending"]
    assert published.replies[0] == published.replies[1]


def test_a_reply_carries_the_correlation_to_the_reply_topic(bench: Bench) -> None:
    message = to(TOPICS.request("summary"), {}, reply_to=ME, correlation=b"\x00\xff7")
    (reply,) = bench.processor.process([message], bench.now).messages
    assert (reply.topic, reply.correlation, reply.retain) == (ME, b"\x00\xff7", False)


def test_an_order_that_cannot_be_run_is_denied_and_not_kept(bench: Bench) -> None:
    before = bench.dump()
    for code, fields in [
        ("unknown", {"workflow": "unheard-of"}),
        ("invalid", {}),
        ("invalid", {"workflow": "flow", "plan": plan()}),
        ("invalid", {"plan": {"workflow": {"steps": 1}}}),
        ("invalid", {"plan": [1]}),
        ("invalid", {"workflow": "flow", "input": [1]}),
        ("invalid", {"workflow": "flow", "priority": 101}),
        ("invalid", {"workflow": "flow", "project": "a/b"}),
        ("invalid", {"workflow": "flow", "surprise": 1}),
    ]:
        assert bench.failure("submit", order_id="o", **fields).code == code, fields
    assert bench.dump() == before


def test_an_order_can_bring_its_plan_and_its_input(bench: Bench) -> None:
    bench.submit("o", plan=plan("mine"), input={"data": {"é": [1, 2.5, None]}})
    (run,) = FakeWorker(bench).claim()
    assert wire.encode(run.input) == '{"data":{"é":[1,2.5,null]}}'.encode()
    assert b'"mine"' in bytes(run.plan)
    assert bench.order("o")["workflow"] == "mine"


def test_options_reach_the_worker(bench: Bench) -> None:
    bench.submit("o", options={"start": "b", "timeout_s": 5})
    (run,) = FakeWorker(bench).claim()
    assert run.options == wire.RunOptions(start="b", timeout_s=5)


def test_ids_may_be_as_long_as_they_can_be(bench: Bench) -> None:
    """The beginnings of two ids being the same does not make their runs the same."""
    ids = ["x" * 63 + end for end in "ab"]
    runs = [bench.submit(id) for id in ids]
    assert len({*ids, *runs}) == 4
    given = FakeWorker(bench).claim(2)
    assert [run.order_id for run in given] == ids
    for run in given:
        wire.decode(wire.Lease, wire.encode(run.lease))


def test_an_order_that_has_the_id_of_a_run_is_a_conflict(bench: Bench) -> None:
    """Else it could not be published which of them is to be cancelled, retried or shown."""
    bench.submit("x")
    before = bench.dump()
    for messages in ([submission("x-1")], [submission("x"), submission("x-1")]):
        failure = bench.send(*messages).replies[-1].error
        assert failure is not None and failure.code == "conflict"
    assert bench.dump() == before


@pytest.mark.parametrize("together", [False, True])
def test_a_first_run_never_has_the_id_of_an_order(bench: Bench, together: bool) -> None:
    messages = [submission("x-1", input={"data": 1}), submission("x", input={"data": 2})]
    for batch in [messages] if together else [messages[:1], messages[1:]]:
        assert not any(reply.error for reply in bench.send(*batch).replies)
    given = {run.order_id: run for run in FakeWorker(bench).claim(2)}
    assert bytes(given["x"].input) == b'{"data":2}'
    assert given["x"].lease.run_id not in ("x", "x-1")
    assert bench.order("x-1")["last_run"] == "x-1-1"


def test_a_first_run_never_has_the_id_of_another_run(bench: Bench) -> None:
    bench.ended("x")
    bench.call("retry", id="x", run_id="y-1")
    assert bench.submit("y") not in ("x-1", "y-1")
    assert [run.order_id for run in FakeWorker(bench).claim(2)] == ["x", "y"]


# --- claims ---------------------------------------------------------------------------------------


def test_a_claim_gives_as_many_runs_as_are_wanted_and_there(bench: Bench) -> None:
    runs = [bench.submit(f"o{n}") for n in range(3)]
    worker = FakeWorker(bench)
    assert [run.lease.run_id for run in worker.claim(2)] == runs[:2]
    assert [run.lease.run_id for run in worker.claim(2)] == runs[2:]


def test_a_claim_repeated_gives_the_same_runs_and_tokens(bench: Bench) -> None:
    bench.submit("o1")
    bench.submit("o2")
    worker = FakeWorker(bench)
    given = worker.claim(1, "c")
    bench.restart()
    assert [run.lease for run in worker.claim(5, "c")] == [run.lease for run in given]
    assert [run.input for run in worker.claim(5, "c")] == [run.input for run in given]
    assert bench.call("summary")["available"] == 1


def test_a_repeated_claim_is_not_given_what_was_started_since(bench: Bench) -> None:
    bench.submit("o1")
    bench.submit("o2")
    worker = FakeWorker(bench)
    first, second = worker.claim(2, "c")
    worker.start(first.lease)
    assert worker.claim(2, "c") == [second]


def test_the_claim_of_another_is_not_answered_with_its_runs(bench: Bench) -> None:
    bench.submit("o")
    FakeWorker(bench).claim(1, "c")
    assert FakeWorker(bench, "south").claim(1, "c") == []


def test_a_claim_waits_for_orders_and_is_answered_once(bench: Bench) -> None:
    assert FakeWorker(bench).claim(2, "c") == []
    published = bench.send(submission("o1"))
    (answer,) = published.assignments
    assert (answer.claim_id, len(answer.runs)) == ("c", 1)
    assert bench.send(submission("o2")).assignments == [], "one answer for each claim"


def test_a_claim_that_waits_twice_is_one(bench: Bench) -> None:
    worker = FakeWorker(bench)
    worker.claim(1, "c")
    worker.claim(1, "c")
    assert len(bench.send(submission("o1"), submission("o2")).assignments) == 1
    assert bench.call("summary")["available"] == 1


def test_demand_zero_withdraws_a_claim(bench: Bench) -> None:
    worker = FakeWorker(bench)
    worker.claim(2, "c")
    worker.claim(0, "c")
    assert bench.send(submission("o")).assignments == []


def test_demand_zero_still_tells_what_was_given(bench: Bench) -> None:
    bench.submit("o")
    worker = FakeWorker(bench)
    given = worker.claim(1, "c")
    assert worker.claim(0, "c") == given


@pytest.mark.parametrize("leave", ["will", "reborn", "disconnected"])
def test_the_claim_of_a_worker_that_is_gone_is_forgotten(bench: Bench, leave: str) -> None:
    worker = FakeWorker(bench)
    worker.birth()
    worker.claim(1)
    match leave:
        case "will":
            worker.will()
        case "reborn":
            FakeWorker(bench, incarnation="i2").birth()
        case "disconnected":
            bench.disconnect()
            bench.connect()
    assert bench.send(submission("o")).assignments == []


def test_runs_are_dealt_out_between_workers_that_wait(bench: Bench) -> None:
    for name in ("north", "south"):
        FakeWorker(bench, name).claim(4)
    published = bench.send(*(submission(f"o{n}") for n in range(4)))
    assert [len(answer.runs) for answer in published.assignments] == [2, 2]


def test_higher_priorities_go_first_and_then_the_oldest(bench: Bench) -> None:
    for order_id, priority in (("low", -1), ("first", 0), ("second", 0), ("high", 7)):
        bench.submit(order_id, priority=priority)
    given = [run.order_id for run in FakeWorker(bench).claim(4)]
    assert given == ["high", "first", "second", "low"]


def test_a_project_that_floods_does_not_hold_up_another(bench: Bench) -> None:
    bench.send(*(submission(f"loud{n}", project="loud") for n in range(20)))
    bench.submit("quiet", project="quiet")
    assert "quiet" in [run.order_id for run in FakeWorker(bench).claim(2)]


# --- reports --------------------------------------------------------------------------------------


def test_a_run_goes_from_pending_over_running_to_its_end(bench: Bench) -> None:
    worker, lease = bench.claimed()
    assert bench.status() == "pending"
    assert worker.report(lease, event("o-1", 0, "run:start")).statuses == ["running"]
    assert bench.run()["started"] < bench.now
    published = worker.report(
        lease, event("o-1", 1), event("o-1", 2, "run:complete", reason="fail")
    )
    assert (published.statuses, published.ended) == (["failed"], {"failed": 1})
    assert published.acks == [wire.Ack(run_id="o-1", attempt=1, upto=2)]
    assert [order["status"] for order in bench.call("orders")] == ["failed"]


def test_why_a_run_failed_is_told(bench: Bench) -> None:
    worker, lease = bench.started()
    end = event("o-1", 1, "run:complete", reason="fail")
    worker.report(lease, {**end, "error_type": "E\0" * 200, "error_message": "\0é" * 20_000})
    run = bench.run()
    assert run["error_type"].startswith("E\ufffdE") and len(run["error_type"]) == 200
    assert run["error_message"].startswith("\ufffdé") and len(run["error_message"]) == 10_000


def test_the_same_report_twice_is_acknowledged_twice_and_kept_once(bench: Bench) -> None:
    worker, lease = bench.claimed()
    events = [event("o-1", 0, "run:start"), event("o-1", 1, message="hello")]
    first = worker.report(lease, *events)
    before = bench.dump()
    again = worker.report(lease, *events)
    assert again.acks == first.acks == [wire.Ack(run_id="o-1", attempt=1, upto=1)]
    assert len(first.events) == 1 and not again.events and not again.states
    assert bench.dump() == before


def test_the_last_report_twice_is_acknowledged_twice(bench: Bench) -> None:
    worker, lease = bench.ended()
    before = bench.dump()
    for _ in range(2):
        assert worker.finish(lease, 1) == wire.Ack(run_id="o-1", attempt=1, upto=1)
    assert bench.dump() == before


def test_a_gap_is_not_taken(bench: Bench) -> None:
    worker, lease = bench.started()
    assert worker.acked(lease, event("o-1", 2), event("o-1", 3)).upto == 0
    assert worker.acked(lease, event("o-1", 1), event("o-1", 3)).upto == 1
    assert worker.acked(lease, event("o-1", 1), event("o-1", 2), event("o-1", 3)).upto == 3


def test_a_run_does_not_start_with_a_gap(bench: Bench) -> None:
    worker, lease = bench.claimed()
    assert worker.finish(lease, 1).upto == -1
    assert bench.status() == "pending"


def test_what_comes_after_the_completion_is_not_taken(bench: Bench) -> None:
    worker, lease = bench.started()
    ack = worker.acked(lease, event("o-1", 1, "run:complete"), event("o-1", 2))
    assert ack.upto == 1


def test_a_run_that_could_not_start_ends_with_its_first_event(bench: Bench) -> None:
    worker, lease = bench.claimed()
    published = worker.report(lease, event("o-1", 0, "run:complete", reason="exception"))
    assert published.statuses == ["exception"]
    assert [alert.status for alert in published.alerts] == ["exception"]


def test_events_are_told_to_all_without_their_dataclips(bench: Bench) -> None:
    worker, lease = bench.started()
    published = worker.report(
        lease,
        event("o-1", 1, "step:start"),
        event("o-1", 2, "step:complete", output_dataclip={"secret": 1}, output_dataclip_id="c1"),
        event("o-1", 3, "run:complete", final_state={"secret": 1}, final_dataclip_id="c1"),
    )
    (told,) = published.events
    assert (told.run_id, told.attempt, len(told.events)) == ("o-1", 1, 3)
    assert b"secret" not in wire.encode(told)
    shown = bench.call("events", run_id="o", clips=True)["events"]
    assert [event["seq"] for event in shown] == [0, 1, 2, 3]
    assert shown[2]["output_dataclip"] == shown[3]["final_state"] == {"secret": 1}
    assert b"secret" not in wire.encode(bench.call("events", run_id="o", after=1))


def test_a_run_shows_its_steps(bench: Bench) -> None:
    worker, lease = bench.started()
    worker.report(lease, event("o-1", 1, "step:start"), event("o-1", 2, "step:complete"))
    (step,) = bench.run()["steps"]
    assert (step["job_id"], step["reason"], step["execution"]) == ("a", "success", 0)


def test_reports_of_several_runs_come_in_one_message(bench: Bench) -> None:
    bench.submit("o1")
    bench.submit("o2")
    worker = FakeWorker(bench)
    leases = [run.lease for run in worker.claim(2)]
    events = [
        {"lease": one, "events": [event(one.run_id, 0, "run:complete")]}
        for one in (*leases, leases[0])
    ]
    published = worker.send("reports", number=7, runs=events)
    assert [(ack.run_id, ack.upto) for ack in published.acks] == [
        ("o1-1", 0),
        ("o2-1", 0),
        ("o1-1", 0),
    ]
    assert published.ended == {"success": 2}


# --- what is late, and what is forged -------------------------------------------------------------


def test_a_late_report_is_kept_as_stale_and_refused(bench: Bench) -> None:
    worker, lease = bench.started()
    bench.wait(LEASE_S)
    assert bench.status() == "lost"
    published = worker.report(lease, event("o-1", 1, "run:complete"))
    assert published.kinds == ["stale"] and not published.states
    (ack,) = published.acks
    assert (ack.upto, ack.refused) == (1, "stale: the run is lost")
    run = bench.run()
    assert (run["status"], run["stale_reports"]) == ("lost", 1)


def test_a_report_of_an_attempt_before_is_stale(bench: Bench) -> None:
    worker, lease = bench.claimed()
    worker.release(lease)
    (again,) = FakeWorker(bench, "south").claim()
    published = worker.report(lease, event("o-1", 0, "run:start"))
    assert published.kinds == ["stale"] and published.acks[0].refused
    assert (again.lease.attempt, bench.status()) == (2, "pending")
    assert again.lease.token != lease.token
    assert bench.run()["stale_reports"] == 1


def test_a_stale_report_twice_is_kept_once(bench: Bench) -> None:
    worker, lease = bench.started()
    bench.wait(LEASE_S)
    worker.finish(lease)
    before = bench.dump()
    assert worker.finish(lease).refused
    assert bench.dump() == before


@pytest.mark.parametrize("phase", ["claimed", "started", "ended"])
def test_a_forged_lease_is_refused_and_changes_nothing(bench: Bench, phase: str) -> None:
    worker, lease = getattr(bench, phase)()
    before = bench.dump()
    _forge(bench, FakeWorker(bench, "south"), lease)
    for changed in ({"token": "token-forged"}, {"attempt": 2}):
        _forge(bench, worker, wire.Lease(**{**_fields(lease), **changed}))
    _forge(bench, worker, wire.Lease(**{**_fields(lease), "run_id": "other"}), "unknown")
    assert bench.dump() == before


def _forge(bench: Bench, worker: FakeWorker, false: wire.Lease, kind: str = "forged") -> None:
    """Say all that a worker can say with a lease that is not its own."""
    for seq in (0, 1, 5):
        published = worker.report(false, event(false.run_id, seq, "run:complete", reason="crash"))
        assert published.kinds == [kind]
        assert [(ack.upto, bool(ack.refused)) for ack in published.acks] == [(-1, True)]
        assert not published.states and not published.events
    assert worker.release(false).kinds == [kind]
    beaten = worker.heartbeat(false)
    assert beaten.kinds == [kind]
    assert beaten.commands == [wire.Command(abandon=[attempt(false.run_id, false.attempt)])]


def _fields(lease: wire.Lease) -> dict[str, object]:
    return {name: getattr(lease, name) for name in lease.__struct_fields__}


def test_an_event_of_another_run_is_forged_and_nothing_of_its_report_is_kept(bench: Bench) -> None:
    worker, lease = bench.started()
    before = bench.dump()
    published = worker.report(lease, event("o-1", 1), event("other", 2))
    assert published.kinds == ["forged"] and [one.upto for one in published.acks] == [-1]
    assert bench.dump() == before


def broken_events() -> list[dict[str, object]]:
    return [
        event("o-1", 1, "run:complete", reason=None),
        event("o-1", 1, "run:complete", reason="lost"),
        event("o-1", 1, "run:end"),
        event("o-1", -1),
        event("o-1", 1, surprise=True),
        event("o-1", 1, "step:start", input_dataclip_id=None),
        event("o-1", 1, "step:complete", job_id=None),
        event("o-1", 1, "run:log", final_state={}),
        event("o-1", 1, "step:complete", output_dataclip_id="\0", output_dataclip={}),
    ]


def test_a_malformed_event_is_refused_with_all_of_its_report(bench: Bench) -> None:
    worker, lease = bench.started()
    before = bench.dump()
    for broken in broken_events():
        published = worker.report(lease, event("o-1", 1), broken)
        assert published.kinds == ["malformed"], broken
        (ack,) = published.acks
        assert (ack.upto, ack.refused[:10]) == (-1, "malformed:")
    assert bench.dump() == before
    assert bench.status() == "running"


def test_a_malformed_message_stops_no_other_of_its_batch(bench: Bench) -> None:
    worker, lease = bench.started()
    bad = [worker.reports(lease, broken) for broken in broken_events()]
    published = bench.send(*bad, submission("o2"))
    assert published.kinds == ["malformed"] * len(bad)
    assert published.statuses == ["pending"]


# --- leases ---------------------------------------------------------------------------------------


def test_a_claim_that_is_not_started_goes_to_another(bench: Bench) -> None:
    worker, lease = bench.claimed()
    bench.wait(LEASE_S - 1)
    assert bench.call("summary")["leased"] == 1
    published = bench.wait(1)
    assert not published.states, "it was pending and is pending"
    (again,) = FakeWorker(bench, "south").claim()
    assert again.lease.attempt == 2
    assert worker.start(lease).refused


def test_a_run_is_lost_after_five_claims_that_were_not_started(bench: Bench) -> None:
    bench.submit("o")
    worker = FakeWorker(bench)
    for attempt in range(1, ATTEMPTS + 1):
        (run,) = worker.claim()
        assert run.lease.attempt == attempt
        published = bench.wait(LEASE_S)
    assert published.statuses == ["lost"]
    assert [alert.error_type for alert in published.alerts] == ["LostAfterClaim"]
    assert worker.claim() == []


def test_a_started_run_whose_worker_is_silent_is_lost(bench: Bench) -> None:
    bench.started()
    published = bench.wait(LEASE_S)
    assert published.statuses == ["lost"] and published.ended == {"lost": 1}
    assert [alert.error_type for alert in published.alerts] == ["LostAfterStart"]
    assert bench.wait(LEASE_S).states == []


def test_a_heartbeat_keeps_a_run_and_a_report_alone_does_not_have_to(bench: Bench) -> None:
    worker, lease = bench.started()
    for _ in range(4):
        bench.wait(LEASE_S - 1)
        published = worker.heartbeat(lease)
        assert not published.commands and not published.refusals
    assert bench.status() == "running"


def test_a_heartbeat_of_a_run_that_is_over_is_answered_with_abandon(bench: Bench) -> None:
    worker, lease = bench.started()
    bench.wait(LEASE_S)
    before = bench.dump()
    assert worker.heartbeat(lease).commands == [wire.Command(abandon=[attempt("o-1")])]
    assert bench.dump() == before


def test_no_lease_expires_while_the_bus_is_gone(bench: Bench) -> None:
    bench.started()
    bench.disconnect()
    assert not bench.wait(10 * LEASE_S).states


def test_leases_expire_a_full_lease_after_the_bus_is_back(bench: Bench) -> None:
    bench.started()
    bench.disconnect()
    bench.wait(10 * LEASE_S)
    bench.connect()
    assert not bench.wait(LEASE_S - 0.5).states
    assert bench.wait(0.5).statuses == ["lost"]


def test_no_lease_expires_before_the_first_connection(bench: Bench) -> None:
    bench.started()
    bench.start()
    assert not bench.wait(10 * LEASE_S).states
    bench.connect()
    assert bench.wait(LEASE_S).statuses == ["lost"]


def test_a_plane_that_was_held_up_gives_workers_a_full_lease(bench: Bench) -> None:
    """Its own pause is no silence of theirs: what they published waits to be read."""
    bench.started()
    bench.wait(1)
    bench.pass_time(10 * LEASE_S)
    assert not bench.tick().states
    assert not bench.wait(LEASE_S - 0.5).states
    assert bench.wait(0.5).statuses == ["lost"]


def test_a_run_that_is_handed_back_goes_to_another_at_once(bench: Bench) -> None:
    worker, lease = bench.claimed()
    other = FakeWorker(bench, "south")
    assert other.claim() == []
    published = worker.release(lease)
    (answer,) = published.assignments
    assert answer.runs[0].lease.attempt == 2
    assert not worker.release(lease).assignments, "the second time says nothing new"


def test_a_run_that_was_started_is_not_handed_back(bench: Bench) -> None:
    worker, lease = bench.started()
    before = bench.dump()
    worker.release(lease)
    assert bench.dump() == before


# --- births and wills -----------------------------------------------------------------------------


def test_a_will_shortens_the_lease_to_the_grace(bench: Bench) -> None:
    worker, _ = bench.started()
    bench.wait(LEASE_S - DISCONNECT_GRACE_S - 4)
    worker.birth()
    worker.will()
    assert not bench.wait(DISCONNECT_GRACE_S - 0.5).states
    assert bench.wait(1).statuses == ["lost"]


def test_a_heartbeat_after_a_will_restores_the_lease(bench: Bench) -> None:
    worker, lease = bench.started()
    bench.wait(LEASE_S - 1)
    worker.heartbeat(lease)
    worker.will()
    bench.wait(DISCONNECT_GRACE_S - 1)
    worker.heartbeat(lease)
    assert not bench.wait(LEASE_S - 0.5).states


def test_the_will_of_an_older_incarnation_is_ignored(bench: Bench) -> None:
    old, new = FakeWorker(bench, incarnation="i1"), FakeWorker(bench, incarnation="i2")
    bench.submit("o")
    old.birth()
    new.birth()
    (run,) = new.claim()
    new.start(run.lease)
    before = bench.dump()
    for published in (old.will(), old.birth()):
        assert published.kinds == ["stale"]
    assert bench.dump() == before
    (row,) = bench.call("workers")
    assert (row["incarnation"], bool(row["online"])) == ("i2", True)


def test_the_birth_of_a_newer_incarnation_shortens_what_the_older_had(bench: Bench) -> None:
    _, lease = bench.started()
    bench.wait(LEASE_S - DISCONNECT_GRACE_S - 4)
    new = FakeWorker(bench, incarnation="i2")
    new.birth()
    assert bench.wait(DISCONNECT_GRACE_S + 0.5).statuses == ["lost"]
    assert new.heartbeat(lease).commands == [wire.Command(abandon=[attempt("o-1")])]


def test_a_birth_again_takes_nothing_away(bench: Bench) -> None:
    worker, lease = bench.started()
    worker.birth()
    bench.wait(LEASE_S - 1)
    worker.birth()
    worker.heartbeat(lease)
    assert not bench.wait(DISCONNECT_GRACE_S + 1).states


def test_the_will_of_one_worker_is_not_that_of_another(bench: Bench) -> None:
    bench.started()
    bench.wait(LEASE_S - DISCONNECT_GRACE_S - 4)
    FakeWorker(bench, "south").will()
    assert not bench.wait(DISCONNECT_GRACE_S + 1).states


def test_workers_are_shown_with_what_they_have(bench: Bench) -> None:
    worker, _ = bench.started()
    worker.birth(capacity=4, version="1")
    (row,) = bench.call("workers")
    assert (row["name"], row["capacity"]) == ("north", 4)
    assert [lease["run_id"] for lease in row["leases"]] == ["o-1"]
    assert bench.call("summary") == {
        "orders": {"running": 1}, "available": 0, "leased": 1, "workers": 1,
    }  # fmt: skip


# --- cancelling -----------------------------------------------------------------------------------


def test_a_run_that_waits_is_cancelled_at_once(bench: Bench) -> None:
    bench.submit("o")
    published = bench.send(request("cancel", id="o"))
    assert published.statuses == ["cancelled"] and not published.commands and not published.alerts
    assert FakeWorker(bench).claim() == []


@pytest.mark.parametrize("phase", ["claimed", "started"])
def test_the_worker_of_a_leased_run_is_told_and_confirms(bench: Bench, phase: str) -> None:
    worker, lease = getattr(bench, phase)()
    published = bench.send(request("cancel", id="o-1"))
    assert published.commands == [wire.Command(cancel=[attempt("o-1")])] and not published.states
    published = worker.report(
        lease, *[event("o-1", n, "run:complete", reason="cancel") for n in (0, 1)][-_next(phase) :]
    )
    assert published.statuses == ["cancelled"]


def _next(phase: str) -> int:
    return 2 if phase == "claimed" else 1


def test_a_heartbeat_reminds_of_a_cancel_that_was_not_heard(bench: Bench) -> None:
    worker, lease = bench.started()
    bench.call("cancel", id="o")
    bench.restart()
    assert worker.heartbeat(lease).commands == [wire.Command(cancel=[attempt("o-1")])]
    assert bench.status() == "running"


def test_a_run_that_ends_before_it_hears_of_the_cancel_keeps_its_own_end(bench: Bench) -> None:
    worker, lease = bench.started()
    bench.call("cancel", id="o")
    worker.finish(lease)
    assert bench.status() == "success"


@pytest.mark.parametrize("back", ["expired", "released"])
def test_a_claim_that_is_to_be_cancelled_is_cancelled_when_it_comes_back(
    bench: Bench, back: str
) -> None:
    worker, lease = bench.claimed()
    bench.call("cancel", id="o")
    published = bench.wait(LEASE_S) if back == "expired" else worker.release(lease)
    assert published.statuses == ["cancelled"] and not published.alerts


def test_a_started_run_that_is_to_be_cancelled_and_goes_silent_is_lost(bench: Bench) -> None:
    bench.started()
    bench.call("cancel", id="o")
    assert bench.wait(LEASE_S).statuses == ["lost"]


def test_a_cancel_twice_says_the_same_and_one_of_what_has_ended_is_a_conflict(
    bench: Bench,
) -> None:
    bench.submit("o")
    assert bench.call("cancel", id="o") == bench.call("cancel", id="o")
    bench.ended("done")
    assert bench.failure("cancel", id="done").code == "conflict"
    assert bench.failure("cancel", id="nobody").code == "unknown"


# --- retrying -------------------------------------------------------------------------------------


@pytest.fixture
def walked(bench: Bench) -> Bench:
    """A run of two steps that failed at the second."""
    bench.submit("o", input={"data": "first"})
    worker = FakeWorker(bench)
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
    return bench


def test_a_retry_is_a_new_run_with_the_input_of_the_order(walked: Bench) -> None:
    found = walked.call("retry", id="o", run_id="again")
    assert (found["status"], found["runs"], found["last_run"]) == ("pending", 2, "again")
    (run,) = FakeWorker(walked).claim()
    assert (run.lease.run_id, bytes(run.input)) == ("again", b'{"data":"first"}')
    assert run.options.start == ""
    assert walked.status("o-1") == "failed"


def test_a_retry_from_a_step_has_its_recorded_input(walked: Bench) -> None:
    walked.call("retry", id="o", run_id="again", from_step="b")
    (run,) = FakeWorker(walked).claim()
    assert (bytes(run.input), run.options.start) == (b'{"data":2}', "b")
    assert walked.status("again") == "pending"


def test_a_retry_from_the_first_step_has_the_input_of_the_run(walked: Bench) -> None:
    walked.call("retry", id="o", run_id="again", from_step="a")
    (run,) = FakeWorker(walked).claim()
    assert (bytes(run.input), run.options.start) == (b'{"data":"first"}', "a")


def test_a_retry_of_a_retry_from_its_step_has_the_same_input(walked: Bench) -> None:
    walked.call("retry", id="o", run_id="again", from_step="b")
    worker = FakeWorker(walked)
    (run,) = worker.claim()
    start = event("again", 0, "step:start", job_id="b", input_dataclip_id="clip-9")
    worker.report(run.lease, start, event("again", 1, "run:complete", reason="fail"))
    walked.call("retry", id="o", run_id="third", from_step="b")
    (third,) = worker.claim()
    assert (bytes(third.input), third.options.start) == (b'{"data":2}', "b")


def test_ids_as_long_as_uuids_can_be_retried_from_a_step(bench: Bench) -> None:
    order_id, clip = "5" * 64, "c" * 64
    bench.submit(order_id)
    worker = FakeWorker(bench)
    (run,) = worker.claim()
    id = run.lease.run_id
    worker.report(
        run.lease,
        event(id, 0, "step:start"),
        event(id, 1, "step:complete", output_dataclip_id=clip, output_dataclip={"data": 2}),
        event(id, 2, "step:start", job_id="b", input_dataclip_id=clip),
        event(id, 3, "run:complete", reason="fail"),
    )
    bench.call("retry", id=order_id, run_id="again", from_step="b")
    (again,) = worker.claim()
    assert bytes(again.input) == b'{"data":2}'


def test_a_step_that_did_not_run_cannot_be_retried_from(walked: Bench) -> None:
    before = walked.dump()
    failure = walked.failure("retry", id="o", run_id="again", from_step="c")
    assert failure.code == "unknown" and "'c'" in failure.message
    assert walked.dump() == before


def test_a_step_whose_input_was_withheld_cannot_be_retried_from(bench: Bench) -> None:
    worker, lease = bench.started()
    worker.report(
        lease,
        event("o-1", 1, "step:start"),
        event("o-1", 2, "step:complete", output_dataclip_id="clip-1", withheld=True),
        event("o-1", 3, "step:start", job_id="b", input_dataclip_id="clip-1"),
        event("o-1", 4, "run:complete", reason="fail"),
    )
    assert bench.failure("retry", id="o", run_id="again", from_step="b").code == "unknown"


@pytest.mark.parametrize("phase", ["submit", "claimed", "started"])
def test_a_retry_of_what_is_under_way_is_a_conflict(bench: Bench, phase: str) -> None:
    getattr(bench, phase)("o")
    before = bench.dump()
    assert bench.failure("retry", id="o", run_id="again").code == "conflict"
    assert bench.dump() == before


def test_the_same_retry_twice_makes_one_run(walked: Bench) -> None:
    first = walked.call("retry", id="o", run_id="again")
    assert walked.call("retry", id="o", run_id="again") == first
    published = walked.send(*[request("retry", id="o", run_id="again")] * 2)
    assert not published.states and len(published.replies) == 2
    assert walked.order()["runs"] == 2


def test_two_retries_at_once_make_one_run(walked: Bench) -> None:
    published = walked.send(*(request("retry", id="o", run_id=id) for id in ("again", "more")))
    assert [reply.error and reply.error.code for reply in published.replies] == [None, "conflict"]


def test_a_retry_with_the_id_of_another_orders_run_is_a_conflict(walked: Bench) -> None:
    walked.submit("other")
    before = walked.dump()
    for run_id in ("other-1", "other"):
        assert walked.failure("retry", id="o", run_id=run_id).code == "conflict"
    assert walked.dump() == before


def test_an_order_has_the_status_of_its_last_run(walked: Bench) -> None:
    walked.call("retry", id="o", run_id="again")
    assert walked.order()["status"] == "pending"
    worker = FakeWorker(walked)
    (run,) = worker.claim()
    worker.start(run.lease)
    assert walked.order()["status"] == "running"
    worker.finish(run.lease)
    assert walked.order()["status"] == "success"
    assert [run["status"] for run in walked.order()["all_runs"]] == ["failed", "success"]


# --- alerts and states ----------------------------------------------------------------------------


def test_only_exceptions_and_losses_alert(bench: Bench) -> None:
    for reason in ("success", "fail", "crash", "kill", "cancel"):
        worker, lease = bench.started(reason)
        assert not worker.report(
            lease, event(f"{reason}-1", 1, "run:complete", reason=reason)
        ).alerts
    worker, lease = bench.started("o")
    published = worker.report(lease, event("o-1", 1, "run:complete", reason="exception"))
    assert [alert.run_id for alert in published.alerts] == ["o-1"]
    assert [alert["run_id"] for alert in bench.call("alerts")] == ["o-1"]


def test_an_alert_is_said_once(bench: Bench) -> None:
    worker, lease = bench.ended(reason="exception")
    bench.processor.mark_notified(["o-1"], bench.now)
    worker.finish(lease, 1, "exception")
    assert not bench.wait(LEASE_S).alerts
    assert not bench.restart().alerts


def test_an_alert_that_was_not_delivered_is_said_after_a_restart(bench: Bench) -> None:
    bench.ended(reason="exception")
    (alert,) = bench.restart().alerts
    assert (alert.run_id, alert.status) == ("o-1", "exception")
    bench.processor.mark_notified(["o-1"], bench.now)
    assert not bench.restart().alerts


def test_states_are_said_again_after_a_reconnect(bench: Bench) -> None:
    bench.ended("long-ago")
    bench.wait(60)
    worker, lease = bench.started("o")
    bench.disconnect()
    bench.pass_time(1)
    worker.finish(lease)
    published = bench.connect()
    assert [(state.run_id, state.status) for state in published.states] == [("o-1", "success")]


def test_states_are_said_again_after_a_crash_and_only_those_that_may_be_missing(
    bench: Bench,
) -> None:
    bench.ended("long-ago")
    bench.wait(60)
    bench.submit("o")
    for _ in range(3):
        assert [state.run_id for state in bench.restart().states] == ["o-1"]
        bench.tick()


def test_the_state_of_a_final_run_expires_at_the_broker(bench: Bench) -> None:
    worker, lease = bench.started()
    message = worker.reports(lease, event("o-1", 1, "run:complete"))
    published = bench.processor.process([message], bench.now).messages
    (state,) = [one for one in published if one.topic == TOPICS.run("o-1", "state")]
    assert state.retain and state.expiry_s > 0


# --- forgetting -----------------------------------------------------------------------------------


def test_orders_that_ended_long_ago_are_forgotten_with_all_their_rows(bench: Bench) -> None:
    bench.wait(1)
    fresh = bench.dump()
    for reason in ("success", "exception"):
        worker, lease = bench.started(reason)
        clip = {"final_state": {}, "final_dataclip_id": "c"}
        worker.report(lease, event(f"{reason}-1", 1, "run:complete", reason=reason, **clip))
        worker.acked(lease, event(f"{reason}-1", 2))
    bench.restart(settings=Settings(retain_s=3600))
    bench.wait(1)
    assert len(bench.dump()["orders"]) == 2
    bench.pass_time(3600)
    bench.tick()
    for name in ("orders", "runs", "clips", "events", "stale_reports", "alerts", "plans"):
        assert bench.dump()[name] == fresh[name] == [], name


def test_nothing_else_is_forgotten(bench: Bench) -> None:
    bench.restart(settings=Settings(retain_s=3600))
    for order_id in ("old", "retried", "other"):
        bench.ended(order_id)
    bench.started("going")
    bench.submit("waits", input={"data": 1})
    bench.disconnect()  # so that the lease does not expire
    bench.pass_time(1800)
    bench.call("retry", id="retried", run_id="young")
    bench.pass_time(1801)
    bench.tick()
    left = {order["order_id"]: order["runs"] for order in bench.call("orders")}
    assert left == {"retried": 2, "going": 1, "waits": 1}
    assert {row[0] for row in bench.dump()["runs"]} == {
        "retried-1", "young", "going-1", "waits-1",
    }  # fmt: skip
    assert len(bench.dump()["clips"]) == 3, "the inputs of all that are left"
    assert len(bench.dump()["plans"]) == 1


def test_a_long_list_is_forgotten_without_long_pauses(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.fleet.control.retention.BATCH_SIZE", 2)
    bench.restart(settings=Settings(retain_s=10))
    bench.send(*(submission(f"o{n}") for n in range(7)))
    bench.send(*(request("cancel", id=f"o{n}") for n in range(7)))
    bench.pass_time(60)
    bench.wait(5)
    assert bench.call("orders") == []


def test_nothing_is_forgotten_unless_it_is_asked_for(bench: Bench) -> None:
    bench.ended()
    bench.pass_time(10 * 365 * 86_400)
    bench.tick()
    assert bench.status() == "success"


# --- asking ---------------------------------------------------------------------------------------


def test_orders_are_listed_newest_first_and_found_by_what_they_are(bench: Bench) -> None:
    bench.submit("one", project="p")
    bench.submit("two", workflow="other")
    bench.submit("three")
    bench.call("cancel", id="two")

    def ids(**query: object) -> list[str]:
        return [order["order_id"] for order in bench.call("orders", **query)]

    assert ids() == ["three", "two", "one"]
    assert ids(limit=1) == ["three"]
    assert ids(project="p") == ["one"]
    assert ids(status="cancelled") == ["two"]
    assert ids(workflow="flow") == ["three", "one"]
    assert ids(search="O") == ["three", "two", "one"], "in a name or an id, in any case"
    assert ids(search="TW") == ["two"]
    assert ids(search="%") == ids(search="_") == []
    assert ids(before=bench.order("two")["created"]) == ["one"]


def test_every_kind_of_question_about_nothing_is_answered(bench: Bench) -> None:
    assert bench.call("orders") == bench.call("workers") == bench.call("alerts") == []
    assert bench.call("workflows") == ["flow", "other"]
    for method, fields in (("order", {"order_id": "o"}), ("run", {"id": "o"}),
                           ("events", {"run_id": "o"}), ("shutdown", {})):  # fmt: skip
        assert bench.failure(method, **fields).code == "unknown"


def test_a_nul_is_refused_where_it_would_be_text_in_the_database(bench: Bench) -> None:
    """PostgreSQL has no text with it."""
    assert bench.failure("orders", search="\0").code == "invalid"
    assert bench.failure("orders", workflow="a\0").code == "invalid"
    assert bench.failure("submit", order_id="o", plan=plan("a\0b")).code == "invalid"
    assert FakeWorker(bench).birth(version="\0").kinds == ["malformed"]


def test_an_id_is_a_whole_level_of_a_topic(bench: Bench) -> None:
    before = bench.dump()
    for id in ("a\n", "", "a/b", "+", "#", "é", "x" * 65, ".", "a b", "a\0"):
        assert bench.failure("submit", order_id=id, workflow="flow").code == "invalid", id
        published = FakeWorker(bench).send("claim", claim_id=id, demand=1, incarnation="i")
        assert published.kinds == ["malformed"], id
    assert bench.dump() == before


def test_a_request_with_a_hostile_reply_topic_is_not_done(bench: Bench) -> None:
    before = bench.dump()
    body = {"order_id": "o", "workflow": "flow"}
    for reply_to in ("", "worker/v1/workers/north/cmd", "worker/v1/clients/a/b/rsp",
                     "worker/v1/clients//rsp", "worker/v1/clients/+/rsp",
                     "worker/v1/clients/me/rsp\n", "x/worker/v1/clients/me/rsp"):  # fmt: skip
        message = to(TOPICS.request("submit"), body, reply_to=reply_to)
        published = bench.processor.process([message], bench.now)
        assert [refusal.kind for refusal in published.refusals] == ["reply_topic"], reply_to
        assert not published.messages
    assert bench.dump() == before


def test_a_message_on_an_unknown_topic_is_refused(bench: Bench) -> None:
    beat = {"incarnation": "i", "leases": []}
    for topic in ("", "workers/north/beat", "worker/v1/workers/north/rsp", "$SYS/x",
                  "worker/v1/workers/n/o/beat", "worker/v2/workers/north/beat",
                  "worker/v1/requests/a/b", "worker/v1/requests/"):  # fmt: skip
        assert bench.send(to(topic, beat, reply_to=ME)).kinds == ["unknown"], topic


def test_a_message_that_is_too_large_is_refused(bench: Bench) -> None:
    bench.restart(settings=Settings(max_payload_bytes=1000))
    published = bench.send(submission("o", input={"data": "x" * 1000}))
    assert published.kinds == ["oversized"]
    assert published.replies[0].error is not None and published.replies[0].error.code == "too_large"
    claim = to(TOPICS.worker("north", "claim"), b" " * 1001)
    assert bench.send(claim).kinds == ["oversized"]


def test_a_status_that_was_cleared_says_nothing(bench: Bench) -> None:
    before = bench.dump()
    published = bench.send(to(TOPICS.worker("north", "status"), b""))
    assert not published.refusals
    assert bench.dump() == before


def test_many_workflows_that_wait_are_looked_at_a_part_at_a_time(bench: Bench) -> None:
    for number in range(230):
        brought = plan_of(workflow(job("fn(s => s)")))
        brought["workflow"]["name"] = f"w{number:03}"
        bench.submit(f"o{number}", plan=brought)
    worker = FakeWorker(bench)
    given = [run.order_id for _ in range(3) for run in worker.claim(100)]
    assert sorted(given) == sorted(f"o{number}" for number in range(230))
