"""The plane, message by message, on both databases."""

from __future__ import annotations

import pytest

from tests.support.benches import (
    ME,
    TOPICS,
    Bench,
    Hand,
    fact,
    plan,
    request,
    submission,
    to,
)
from tests.support.helpers import job, workflow
from worker.fleet.control.lifecycle import ATTEMPTS
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.messaging import messages as wire
from worker.workflow.save import to_execution_plan

LEASE_S, GRACE_S = Settings().lease_s, Settings().grace_s


def attempt(run_id: str, number: int = 1) -> wire.Attempt:
    return wire.Attempt(run_id=run_id, attempt=number)


# --- orders ---------------------------------------------------------------------------------------


def test_an_order_waits_with_one_run(bench: Bench) -> None:
    said = bench.send(submission("o", priority=3, project="p"))
    assert said.statuses == ["pending"]
    order = bench.order("o")
    assert (order["status"], order["priority"], order["project"]) == ("pending", 3, "p")
    assert [run["run_id"] for run in order["all_runs"]] == ["o-1"]


def test_an_order_that_is_said_twice_is_one(bench: Bench) -> None:
    first = bench.send(submission("o"))
    for said in (bench.send(submission("o")), bench.send(submission("o"), submission("o"))):
        assert not said.states and not said.refusals
        assert [reply.ok for reply in said.replies] == [first.replies[0].ok] * len(said.replies)
    assert bench.order("o")["runs"] == 1


def test_an_order_twice_in_its_first_batch_is_one(bench: Bench) -> None:
    said = bench.send(submission("o"), submission("o"))
    assert said.statuses == ["pending"]
    assert said.replies[0] == said.replies[1]


def test_a_reply_carries_the_correlation_to_the_reply_topic(bench: Bench) -> None:
    message = to(TOPICS.request("summary"), {}, reply_to=ME, correlation=b"\x00\xff7")
    (reply,) = bench.plane.process([message], bench.now).messages
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
        assert bench.denied("submit", order_id="o", **fields).code == code, fields
    assert bench.dump() == before


def test_an_order_can_bring_its_plan_and_its_input(bench: Bench) -> None:
    bench.submit("o", plan=plan("mine"), input={"data": {"é": [1, 2.5, None]}})
    (run,) = Hand(bench).claim()
    assert wire.encode(run.input) == '{"data":{"é":[1,2.5,null]}}'.encode()
    assert b'"mine"' in bytes(run.plan)
    assert bench.order("o")["workflow"] == "mine"


def test_options_reach_the_worker(bench: Bench) -> None:
    bench.submit("o", options={"start": "b", "timeout_s": 5})
    (run,) = Hand(bench).claim()
    assert run.options == wire.RunOptions(start="b", timeout_s=5)


def test_ids_may_be_as_long_as_they_can_be(bench: Bench) -> None:
    """The beginnings of two ids being the same does not make their runs the same."""
    ids = ["x" * 63 + end for end in "ab"]
    runs = [bench.submit(id) for id in ids]
    assert len({*ids, *runs}) == 4
    given = Hand(bench).claim(2)
    assert [run.order_id for run in given] == ids
    for run in given:
        wire.decode(wire.Lease, wire.encode(run.lease))


def test_an_order_that_has_the_id_of_a_run_is_a_conflict(bench: Bench) -> None:
    """Else it could not be said which of them is to be cancelled, retried or shown."""
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
    given = {run.order_id: run for run in Hand(bench).claim(2)}
    assert bytes(given["x"].input) == b'{"data":2}'
    assert given["x"].lease.run_id not in ("x", "x-1")
    assert bench.order("x-1")["last_run"] == "x-1-1"


def test_a_first_run_never_has_the_id_of_another_run(bench: Bench) -> None:
    bench.ended("x")
    bench.ask("retry", id="x", run_id="y-1")
    assert bench.submit("y") not in ("x-1", "y-1")
    assert [run.order_id for run in Hand(bench).claim(2)] == ["x", "y"]


# --- claims ---------------------------------------------------------------------------------------


def test_a_claim_gives_as_many_runs_as_are_wanted_and_there(bench: Bench) -> None:
    runs = [bench.submit(f"o{n}") for n in range(3)]
    hand = Hand(bench)
    assert [run.lease.run_id for run in hand.claim(2)] == runs[:2]
    assert [run.lease.run_id for run in hand.claim(2)] == runs[2:]


def test_a_claim_repeated_gives_the_same_runs_and_tokens(bench: Bench) -> None:
    bench.submit("o1")
    bench.submit("o2")
    hand = Hand(bench)
    given = hand.claim(1, "c")
    bench.restart()
    assert [run.lease for run in hand.claim(5, "c")] == [run.lease for run in given]
    assert [run.input for run in hand.claim(5, "c")] == [run.input for run in given]
    assert bench.ask("summary")["available"] == 1


def test_a_repeated_claim_is_not_given_what_was_started_since(bench: Bench) -> None:
    bench.submit("o1")
    bench.submit("o2")
    hand = Hand(bench)
    first, second = hand.claim(2, "c")
    hand.start(first.lease)
    assert hand.claim(2, "c") == [second]


def test_the_claim_of_another_is_not_answered_with_its_runs(bench: Bench) -> None:
    bench.submit("o")
    Hand(bench).claim(1, "c")
    assert Hand(bench, "south").claim(1, "c") == []


def test_a_claim_waits_for_orders_and_is_answered_once(bench: Bench) -> None:
    assert Hand(bench).claim(2, "c") == []
    said = bench.send(submission("o1"))
    (answer,) = said.assignments
    assert (answer.claim_id, len(answer.runs)) == ("c", 1)
    assert bench.send(submission("o2")).assignments == [], "one answer for each claim"


def test_a_claim_that_waits_twice_is_one(bench: Bench) -> None:
    hand = Hand(bench)
    hand.claim(1, "c")
    hand.claim(1, "c")
    assert len(bench.send(submission("o1"), submission("o2")).assignments) == 1
    assert bench.ask("summary")["available"] == 1


def test_demand_zero_withdraws_a_claim(bench: Bench) -> None:
    hand = Hand(bench)
    hand.claim(2, "c")
    hand.claim(0, "c")
    assert bench.send(submission("o")).assignments == []


def test_demand_zero_still_tells_what_was_given(bench: Bench) -> None:
    bench.submit("o")
    hand = Hand(bench)
    given = hand.claim(1, "c")
    assert hand.claim(0, "c") == given


@pytest.mark.parametrize("leave", ["will", "reborn", "disconnected"])
def test_the_claim_of_a_worker_that_is_gone_is_forgotten(bench: Bench, leave: str) -> None:
    hand = Hand(bench)
    hand.birth()
    hand.claim(1)
    match leave:
        case "will":
            hand.will()
        case "reborn":
            Hand(bench, incarnation="i2").birth()
        case "disconnected":
            bench.disconnect()
            bench.connect()
    assert bench.send(submission("o")).assignments == []


def test_runs_are_dealt_out_between_workers_that_wait(bench: Bench) -> None:
    for name in ("north", "south"):
        Hand(bench, name).claim(4)
    said = bench.send(*(submission(f"o{n}") for n in range(4)))
    assert [len(answer.runs) for answer in said.assignments] == [2, 2]


def test_higher_priorities_go_first_and_then_the_oldest(bench: Bench) -> None:
    for order_id, priority in (("low", -1), ("first", 0), ("second", 0), ("high", 7)):
        bench.submit(order_id, priority=priority)
    given = [run.order_id for run in Hand(bench).claim(4)]
    assert given == ["high", "first", "second", "low"]


def test_a_project_that_floods_does_not_hold_up_another(bench: Bench) -> None:
    bench.send(*(submission(f"loud{n}", project="loud") for n in range(20)))
    bench.submit("quiet", project="quiet")
    assert "quiet" in [run.order_id for run in Hand(bench).claim(2)]


# --- reports --------------------------------------------------------------------------------------


def test_a_run_goes_from_pending_over_running_to_its_end(bench: Bench) -> None:
    hand, lease = bench.claimed()
    assert bench.status() == "pending"
    assert hand.report(lease, fact("o-1", 0, "run:start")).statuses == ["running"]
    assert bench.run()["started"] < bench.now
    said = hand.report(lease, fact("o-1", 1), fact("o-1", 2, "run:complete", reason="fail"))
    assert (said.statuses, said.ended) == (["failed"], {"failed": 1})
    assert said.acks == [wire.Ack(run_id="o-1", attempt=1, upto=2)]
    assert [order["status"] for order in bench.ask("orders")] == ["failed"]


def test_why_a_run_failed_is_told(bench: Bench) -> None:
    hand, lease = bench.started()
    end = fact("o-1", 1, "run:complete", reason="fail")
    hand.report(lease, {**end, "error_type": "E\0" * 200, "error_message": "\0é" * 20_000})
    run = bench.run()
    assert run["error_type"].startswith("E\ufffdE") and len(run["error_type"]) == 200
    assert run["error_message"].startswith("\ufffdé") and len(run["error_message"]) == 10_000


def test_the_same_report_twice_is_acknowledged_twice_and_kept_once(bench: Bench) -> None:
    hand, lease = bench.claimed()
    facts = [fact("o-1", 0, "run:start"), fact("o-1", 1, message="hello")]
    first = hand.report(lease, *facts)
    before = bench.dump()
    again = hand.report(lease, *facts)
    assert again.acks == first.acks == [wire.Ack(run_id="o-1", attempt=1, upto=1)]
    assert len(first.events) == 1 and not again.events and not again.states
    assert bench.dump() == before


def test_the_last_report_twice_is_acknowledged_twice(bench: Bench) -> None:
    hand, lease = bench.ended()
    before = bench.dump()
    for _ in range(2):
        assert hand.finish(lease, 1) == wire.Ack(run_id="o-1", attempt=1, upto=1)
    assert bench.dump() == before


def test_a_gap_is_not_taken(bench: Bench) -> None:
    hand, lease = bench.started()
    assert hand.acked(lease, fact("o-1", 2), fact("o-1", 3)).upto == 0
    assert hand.acked(lease, fact("o-1", 1), fact("o-1", 3)).upto == 1
    assert hand.acked(lease, fact("o-1", 1), fact("o-1", 2), fact("o-1", 3)).upto == 3


def test_a_run_does_not_start_with_a_gap(bench: Bench) -> None:
    hand, lease = bench.claimed()
    assert hand.finish(lease, 1).upto == -1
    assert bench.status() == "pending"


def test_what_comes_after_the_completion_is_not_taken(bench: Bench) -> None:
    hand, lease = bench.started()
    ack = hand.acked(lease, fact("o-1", 1, "run:complete"), fact("o-1", 2))
    assert ack.upto == 1


def test_a_run_that_could_not_start_ends_with_its_first_event(bench: Bench) -> None:
    hand, lease = bench.claimed()
    said = hand.report(lease, fact("o-1", 0, "run:complete", reason="exception"))
    assert said.statuses == ["exception"]
    assert [alert.status for alert in said.alerts] == ["exception"]


def test_events_are_told_to_all_without_their_dataclips(bench: Bench) -> None:
    hand, lease = bench.started()
    said = hand.report(
        lease,
        fact("o-1", 1, "step:start"),
        fact("o-1", 2, "step:complete", output_dataclip={"secret": 1}, output_dataclip_id="c1"),
        fact("o-1", 3, "run:complete", final_state={"secret": 1}, final_dataclip_id="c1"),
    )
    (told,) = said.events
    assert (told.run_id, told.attempt, len(told.events)) == ("o-1", 1, 3)
    assert b"secret" not in wire.encode(told)
    shown = bench.ask("events", run_id="o", clips=True)["events"]
    assert [event["seq"] for event in shown] == [0, 1, 2, 3]
    assert shown[2]["output_dataclip"] == shown[3]["final_state"] == {"secret": 1}
    assert b"secret" not in wire.encode(bench.ask("events", run_id="o", after=1))


def test_a_run_shows_its_steps(bench: Bench) -> None:
    hand, lease = bench.started()
    hand.report(lease, fact("o-1", 1, "step:start"), fact("o-1", 2, "step:complete"))
    (step,) = bench.run()["steps"]
    assert (step["job_id"], step["reason"], step["execution"]) == ("a", "success", 0)


def test_reports_of_several_runs_come_in_one_message(bench: Bench) -> None:
    bench.submit("o1")
    bench.submit("o2")
    hand = Hand(bench)
    leases = [run.lease for run in hand.claim(2)]
    events = [
        {"lease": one, "events": [fact(one.run_id, 0, "run:complete")]}
        for one in (*leases, leases[0])
    ]
    said = hand.say("reports", number=7, runs=events)
    assert [(ack.run_id, ack.upto) for ack in said.acks] == [("o1-1", 0), ("o2-1", 0), ("o1-1", 0)]
    assert said.ended == {"success": 2}


# --- what is late, and what is forged -------------------------------------------------------------


def test_a_late_report_is_kept_as_stale_and_refused(bench: Bench) -> None:
    hand, lease = bench.started()
    bench.wait(LEASE_S)
    assert bench.status() == "lost"
    said = hand.report(lease, fact("o-1", 1, "run:complete"))
    assert said.kinds == ["stale"] and not said.states
    (ack,) = said.acks
    assert (ack.upto, ack.refused) == (1, "stale: the run is lost")
    run = bench.run()
    assert (run["status"], run["stale_reports"]) == ("lost", 1)


def test_a_report_of_an_attempt_before_is_stale(bench: Bench) -> None:
    hand, lease = bench.claimed()
    hand.release(lease)
    (again,) = Hand(bench, "south").claim()
    said = hand.report(lease, fact("o-1", 0, "run:start"))
    assert said.kinds == ["stale"] and said.acks[0].refused
    assert (again.lease.attempt, bench.status()) == (2, "pending")
    assert again.lease.token != lease.token
    assert bench.run()["stale_reports"] == 1


def test_a_stale_report_twice_is_kept_once(bench: Bench) -> None:
    hand, lease = bench.started()
    bench.wait(LEASE_S)
    hand.finish(lease)
    before = bench.dump()
    assert hand.finish(lease).refused
    assert bench.dump() == before


@pytest.mark.parametrize("phase", ["claimed", "started", "ended"])
def test_a_forged_lease_is_refused_and_changes_nothing(bench: Bench, phase: str) -> None:
    hand, lease = getattr(bench, phase)()
    before = bench.dump()
    _forge(bench, Hand(bench, "south"), lease)
    for changed in ({"token": "token-forged"}, {"attempt": 2}):
        _forge(bench, hand, wire.Lease(**{**_fields(lease), **changed}))
    _forge(bench, hand, wire.Lease(**{**_fields(lease), "run_id": "other"}), "unknown")
    assert bench.dump() == before


def _forge(bench: Bench, hand: Hand, false: wire.Lease, kind: str = "forged") -> None:
    """Say all that a worker can say with a lease that is not its own."""
    for seq in (0, 1, 5):
        said = hand.report(false, fact(false.run_id, seq, "run:complete", reason="crash"))
        assert said.kinds == [kind]
        assert [(ack.upto, bool(ack.refused)) for ack in said.acks] == [(-1, True)]
        assert not said.states and not said.events
    assert hand.release(false).kinds == [kind]
    beaten = hand.beat(false)
    assert beaten.kinds == [kind]
    assert beaten.commands == [wire.Command(abandon=[attempt(false.run_id, false.attempt)])]


def _fields(lease: wire.Lease) -> dict[str, object]:
    return {name: getattr(lease, name) for name in lease.__struct_fields__}


def test_an_event_of_another_run_is_forged_and_nothing_of_its_report_is_kept(bench: Bench) -> None:
    hand, lease = bench.started()
    before = bench.dump()
    said = hand.report(lease, fact("o-1", 1), fact("other", 2))
    assert said.kinds == ["forged"] and [one.upto for one in said.acks] == [-1]
    assert bench.dump() == before


def broken_events() -> list[dict[str, object]]:
    return [
        fact("o-1", 1, "run:complete", reason=None),
        fact("o-1", 1, "run:complete", reason="lost"),
        fact("o-1", 1, "run:end"),
        fact("o-1", -1),
        fact("o-1", 1, surprise=True),
        fact("o-1", 1, "step:start", input_dataclip_id=None),
        fact("o-1", 1, "step:complete", job_id=None),
        fact("o-1", 1, "run:log", final_state={}),
        fact("o-1", 1, "step:complete", output_dataclip_id="\0", output_dataclip={}),
    ]


def test_a_malformed_event_is_refused_with_all_of_its_report(bench: Bench) -> None:
    hand, lease = bench.started()
    before = bench.dump()
    for broken in broken_events():
        said = hand.report(lease, fact("o-1", 1), broken)
        assert said.kinds == ["malformed"], broken
        (ack,) = said.acks
        assert (ack.upto, ack.refused[:10]) == (-1, "malformed:")
    assert bench.dump() == before
    assert bench.status() == "running"


def test_a_malformed_message_stops_no_other_of_its_batch(bench: Bench) -> None:
    hand, lease = bench.started()
    bad = [hand.reports(lease, broken) for broken in broken_events()]
    said = bench.send(*bad, submission("o2"))
    assert said.kinds == ["malformed"] * len(bad)
    assert said.statuses == ["pending"]


# --- leases ---------------------------------------------------------------------------------------


def test_a_claim_that_is_not_started_goes_to_another(bench: Bench) -> None:
    hand, lease = bench.claimed()
    bench.wait(LEASE_S - 1)
    assert bench.ask("summary")["leased"] == 1
    said = bench.wait(1)
    assert not said.states, "it was pending and is pending"
    (again,) = Hand(bench, "south").claim()
    assert again.lease.attempt == 2
    assert hand.start(lease).refused


def test_a_run_is_lost_after_five_claims_that_were_not_started(bench: Bench) -> None:
    bench.submit("o")
    hand = Hand(bench)
    for attempt in range(1, ATTEMPTS + 1):
        (run,) = hand.claim()
        assert run.lease.attempt == attempt
        said = bench.wait(LEASE_S)
    assert said.statuses == ["lost"]
    assert [alert.error_type for alert in said.alerts] == ["LostAfterClaim"]
    assert hand.claim() == []


def test_a_started_run_whose_worker_is_silent_is_lost(bench: Bench) -> None:
    bench.started()
    said = bench.wait(LEASE_S)
    assert said.statuses == ["lost"] and said.ended == {"lost": 1}
    assert [alert.error_type for alert in said.alerts] == ["LostAfterStart"]
    assert bench.wait(LEASE_S).states == []


def test_a_heartbeat_keeps_a_run_and_a_report_alone_does_not_have_to(bench: Bench) -> None:
    hand, lease = bench.started()
    for _ in range(4):
        bench.wait(LEASE_S - 1)
        said = hand.beat(lease)
        assert not said.commands and not said.refusals
    assert bench.status() == "running"


def test_a_heartbeat_of_a_run_that_is_over_is_answered_with_abandon(bench: Bench) -> None:
    hand, lease = bench.started()
    bench.wait(LEASE_S)
    before = bench.dump()
    assert hand.beat(lease).commands == [wire.Command(abandon=[attempt("o-1")])]
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
    """Its own pause is no silence of theirs: what they said waits to be read."""
    bench.started()
    bench.wait(1)
    bench.pass_time(10 * LEASE_S)
    assert not bench.tick().states
    assert not bench.wait(LEASE_S - 0.5).states
    assert bench.wait(0.5).statuses == ["lost"]


def test_a_run_that_is_handed_back_goes_to_another_at_once(bench: Bench) -> None:
    hand, lease = bench.claimed()
    other = Hand(bench, "south")
    assert other.claim() == []
    said = hand.release(lease)
    (answer,) = said.assignments
    assert answer.runs[0].lease.attempt == 2
    assert not hand.release(lease).assignments, "the second time says nothing new"


def test_a_run_that_was_started_is_not_handed_back(bench: Bench) -> None:
    hand, lease = bench.started()
    before = bench.dump()
    hand.release(lease)
    assert bench.dump() == before


# --- births and wills -----------------------------------------------------------------------------


def test_a_will_shortens_the_lease_to_the_grace(bench: Bench) -> None:
    hand, _ = bench.started()
    bench.wait(LEASE_S - GRACE_S - 4)
    hand.birth()
    hand.will()
    assert not bench.wait(GRACE_S - 0.5).states
    assert bench.wait(1).statuses == ["lost"]


def test_a_heartbeat_after_a_will_restores_the_lease(bench: Bench) -> None:
    hand, lease = bench.started()
    bench.wait(LEASE_S - 1)
    hand.beat(lease)
    hand.will()
    bench.wait(GRACE_S - 1)
    hand.beat(lease)
    assert not bench.wait(LEASE_S - 0.5).states


def test_the_will_of_an_older_incarnation_is_ignored(bench: Bench) -> None:
    old, new = Hand(bench, incarnation="i1"), Hand(bench, incarnation="i2")
    bench.submit("o")
    old.birth()
    new.birth()
    (run,) = new.claim()
    new.start(run.lease)
    before = bench.dump()
    for said in (old.will(), old.birth()):
        assert said.kinds == ["stale"]
    assert bench.dump() == before
    (worker,) = bench.ask("workers")
    assert (worker["incarnation"], bool(worker["online"])) == ("i2", True)


def test_the_birth_of_a_newer_incarnation_shortens_what_the_older_had(bench: Bench) -> None:
    _, lease = bench.started()
    bench.wait(LEASE_S - GRACE_S - 4)
    new = Hand(bench, incarnation="i2")
    new.birth()
    assert bench.wait(GRACE_S + 0.5).statuses == ["lost"]
    assert new.beat(lease).commands == [wire.Command(abandon=[attempt("o-1")])]


def test_a_birth_again_takes_nothing_away(bench: Bench) -> None:
    hand, lease = bench.started()
    hand.birth()
    bench.wait(LEASE_S - 1)
    hand.birth()
    hand.beat(lease)
    assert not bench.wait(GRACE_S + 1).states


def test_the_will_of_one_worker_is_not_that_of_another(bench: Bench) -> None:
    bench.started()
    bench.wait(LEASE_S - GRACE_S - 4)
    Hand(bench, "south").will()
    assert not bench.wait(GRACE_S + 1).states


def test_workers_are_shown_with_what_they_have(bench: Bench) -> None:
    hand, _ = bench.started()
    hand.birth(capacity=4, version="1")
    (worker,) = bench.ask("workers")
    assert (worker["name"], worker["capacity"]) == ("north", 4)
    assert [lease["run_id"] for lease in worker["leases"]] == ["o-1"]
    assert bench.ask("summary") == {
        "orders": {"running": 1}, "available": 0, "leased": 1, "workers": 1,
    }  # fmt: skip


# --- cancelling -----------------------------------------------------------------------------------


def test_a_run_that_waits_is_cancelled_at_once(bench: Bench) -> None:
    bench.submit("o")
    said = bench.send(request("cancel", id="o"))
    assert said.statuses == ["cancelled"] and not said.commands and not said.alerts
    assert Hand(bench).claim() == []


@pytest.mark.parametrize("phase", ["claimed", "started"])
def test_the_worker_of_a_leased_run_is_told_and_confirms(bench: Bench, phase: str) -> None:
    hand, lease = getattr(bench, phase)()
    said = bench.send(request("cancel", id="o-1"))
    assert said.commands == [wire.Command(cancel=[attempt("o-1")])] and not said.states
    said = hand.report(
        lease, *[fact("o-1", n, "run:complete", reason="cancel") for n in (0, 1)][-_next(phase) :]
    )
    assert said.statuses == ["cancelled"]


def _next(phase: str) -> int:
    return 2 if phase == "claimed" else 1


def test_a_heartbeat_reminds_of_a_cancel_that_was_not_heard(bench: Bench) -> None:
    hand, lease = bench.started()
    bench.ask("cancel", id="o")
    bench.restart()
    assert hand.beat(lease).commands == [wire.Command(cancel=[attempt("o-1")])]
    assert bench.status() == "running"


def test_a_run_that_ends_before_it_hears_of_the_cancel_keeps_its_own_end(bench: Bench) -> None:
    hand, lease = bench.started()
    bench.ask("cancel", id="o")
    hand.finish(lease)
    assert bench.status() == "success"


@pytest.mark.parametrize("back", ["expired", "released"])
def test_a_claim_that_is_to_be_cancelled_is_cancelled_when_it_comes_back(
    bench: Bench, back: str
) -> None:
    hand, lease = bench.claimed()
    bench.ask("cancel", id="o")
    said = bench.wait(LEASE_S) if back == "expired" else hand.release(lease)
    assert said.statuses == ["cancelled"] and not said.alerts


def test_a_started_run_that_is_to_be_cancelled_and_goes_silent_is_lost(bench: Bench) -> None:
    bench.started()
    bench.ask("cancel", id="o")
    assert bench.wait(LEASE_S).statuses == ["lost"]


def test_a_cancel_twice_says_the_same_and_one_of_what_has_ended_is_a_conflict(
    bench: Bench,
) -> None:
    bench.submit("o")
    assert bench.ask("cancel", id="o") == bench.ask("cancel", id="o")
    bench.ended("done")
    assert bench.denied("cancel", id="done").code == "conflict"
    assert bench.denied("cancel", id="nobody").code == "unknown"


# --- retrying -------------------------------------------------------------------------------------


@pytest.fixture
def walked(bench: Bench) -> Bench:
    """A run of two steps that failed at the second."""
    bench.submit("o", input={"data": "first"})
    hand = Hand(bench)
    (run,) = hand.claim()
    hand.report(
        run.lease,
        fact("o-1", 0, "run:start"),
        fact("o-1", 1, "step:start", input_dataclip_id="clip-0"),
        fact("o-1", 2, "step:complete", output_dataclip_id="clip-1", output_dataclip={"data": 2}),
        fact("o-1", 3, "step:start", step_id="s2", job_id="b", input_dataclip_id="clip-1"),
        fact("o-1", 4, "step:complete", step_id="s2", job_id="b", reason="fail"),
        fact("o-1", 5, "run:complete", reason="fail"),
    )
    return bench


def test_a_retry_is_a_new_run_with_the_input_of_the_order(walked: Bench) -> None:
    found = walked.ask("retry", id="o", run_id="again")
    assert (found["status"], found["runs"], found["last_run"]) == ("pending", 2, "again")
    (run,) = Hand(walked).claim()
    assert (run.lease.run_id, bytes(run.input)) == ("again", b'{"data":"first"}')
    assert run.options.start == ""
    assert walked.status("o-1") == "failed"


def test_a_retry_from_a_step_has_its_recorded_input(walked: Bench) -> None:
    walked.ask("retry", id="o", run_id="again", from_step="b")
    (run,) = Hand(walked).claim()
    assert (bytes(run.input), run.options.start) == (b'{"data":2}', "b")
    assert walked.status("again") == "pending"


def test_a_retry_from_the_first_step_has_the_input_of_the_run(walked: Bench) -> None:
    walked.ask("retry", id="o", run_id="again", from_step="a")
    (run,) = Hand(walked).claim()
    assert (bytes(run.input), run.options.start) == (b'{"data":"first"}', "a")


def test_a_retry_of_a_retry_from_its_step_has_the_same_input(walked: Bench) -> None:
    walked.ask("retry", id="o", run_id="again", from_step="b")
    hand = Hand(walked)
    (run,) = hand.claim()
    start = fact("again", 0, "step:start", job_id="b", input_dataclip_id="clip-9")
    hand.report(run.lease, start, fact("again", 1, "run:complete", reason="fail"))
    walked.ask("retry", id="o", run_id="third", from_step="b")
    (third,) = hand.claim()
    assert (bytes(third.input), third.options.start) == (b'{"data":2}', "b")


def test_ids_as_long_as_uuids_can_be_retried_from_a_step(bench: Bench) -> None:
    order_id, clip = "5" * 64, "c" * 64
    bench.submit(order_id)
    hand = Hand(bench)
    (run,) = hand.claim()
    id = run.lease.run_id
    hand.report(
        run.lease,
        fact(id, 0, "step:start"),
        fact(id, 1, "step:complete", output_dataclip_id=clip, output_dataclip={"data": 2}),
        fact(id, 2, "step:start", job_id="b", input_dataclip_id=clip),
        fact(id, 3, "run:complete", reason="fail"),
    )
    bench.ask("retry", id=order_id, run_id="again", from_step="b")
    (again,) = hand.claim()
    assert bytes(again.input) == b'{"data":2}'


def test_a_step_that_did_not_run_cannot_be_retried_from(walked: Bench) -> None:
    before = walked.dump()
    denied = walked.denied("retry", id="o", run_id="again", from_step="c")
    assert denied.code == "unknown" and "'c'" in denied.message
    assert walked.dump() == before


def test_a_step_whose_input_was_withheld_cannot_be_retried_from(bench: Bench) -> None:
    hand, lease = bench.started()
    hand.report(
        lease,
        fact("o-1", 1, "step:start"),
        fact("o-1", 2, "step:complete", output_dataclip_id="clip-1", withheld=True),
        fact("o-1", 3, "step:start", job_id="b", input_dataclip_id="clip-1"),
        fact("o-1", 4, "run:complete", reason="fail"),
    )
    assert bench.denied("retry", id="o", run_id="again", from_step="b").code == "unknown"


@pytest.mark.parametrize("phase", ["submit", "claimed", "started"])
def test_a_retry_of_what_is_under_way_is_a_conflict(bench: Bench, phase: str) -> None:
    getattr(bench, phase)("o")
    before = bench.dump()
    assert bench.denied("retry", id="o", run_id="again").code == "conflict"
    assert bench.dump() == before


def test_the_same_retry_twice_makes_one_run(walked: Bench) -> None:
    first = walked.ask("retry", id="o", run_id="again")
    assert walked.ask("retry", id="o", run_id="again") == first
    said = walked.send(*[request("retry", id="o", run_id="again")] * 2)
    assert not said.states and len(said.replies) == 2
    assert walked.order()["runs"] == 2


def test_two_retries_at_once_make_one_run(walked: Bench) -> None:
    said = walked.send(*(request("retry", id="o", run_id=id) for id in ("again", "more")))
    assert [reply.error and reply.error.code for reply in said.replies] == [None, "conflict"]


def test_a_retry_with_the_id_of_another_orders_run_is_a_conflict(walked: Bench) -> None:
    walked.submit("other")
    before = walked.dump()
    for run_id in ("other-1", "other"):
        assert walked.denied("retry", id="o", run_id=run_id).code == "conflict"
    assert walked.dump() == before


def test_an_order_has_the_status_of_its_last_run(walked: Bench) -> None:
    walked.ask("retry", id="o", run_id="again")
    assert walked.order()["status"] == "pending"
    hand = Hand(walked)
    (run,) = hand.claim()
    hand.start(run.lease)
    assert walked.order()["status"] == "running"
    hand.finish(run.lease)
    assert walked.order()["status"] == "success"
    assert [run["status"] for run in walked.order()["all_runs"]] == ["failed", "success"]


# --- alerts and states ----------------------------------------------------------------------------


def test_only_exceptions_and_losses_alert(bench: Bench) -> None:
    for reason in ("success", "fail", "crash", "kill", "cancel"):
        hand, lease = bench.started(reason)
        assert not hand.report(lease, fact(f"{reason}-1", 1, "run:complete", reason=reason)).alerts
    hand, lease = bench.started("o")
    said = hand.report(lease, fact("o-1", 1, "run:complete", reason="exception"))
    assert [alert.run_id for alert in said.alerts] == ["o-1"]
    assert [alert["run_id"] for alert in bench.ask("alerts")] == ["o-1"]


def test_an_alert_is_said_once(bench: Bench) -> None:
    hand, lease = bench.ended(reason="exception")
    bench.plane.notified(["o-1"], bench.now)
    hand.finish(lease, 1, "exception")
    assert not bench.wait(LEASE_S).alerts
    assert not bench.restart().alerts


def test_an_alert_that_was_not_delivered_is_said_after_a_restart(bench: Bench) -> None:
    bench.ended(reason="exception")
    (alert,) = bench.restart().alerts
    assert (alert.run_id, alert.status) == ("o-1", "exception")
    bench.plane.notified(["o-1"], bench.now)
    assert not bench.restart().alerts


def test_states_are_said_again_after_a_reconnect(bench: Bench) -> None:
    bench.ended("long-ago")
    bench.wait(60)
    hand, lease = bench.started("o")
    bench.disconnect()
    bench.pass_time(1)
    hand.finish(lease)
    said = bench.connect()
    assert [(state.run_id, state.status) for state in said.states] == [("o-1", "success")]


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
    hand, lease = bench.started()
    message = hand.reports(lease, fact("o-1", 1, "run:complete"))
    said = bench.plane.process([message], bench.now).messages
    (state,) = [one for one in said if one.topic == TOPICS.run("o-1", "state")]
    assert state.retain and state.expiry_s > 0


# --- forgetting -----------------------------------------------------------------------------------


def test_orders_that_ended_long_ago_are_forgotten_with_all_their_rows(bench: Bench) -> None:
    bench.wait(1)
    fresh = bench.dump()
    for reason in ("success", "exception"):
        hand, lease = bench.started(reason)
        clip = {"final_state": {}, "final_dataclip_id": "c"}
        hand.report(lease, fact(f"{reason}-1", 1, "run:complete", reason=reason, **clip))
        hand.acked(lease, fact(f"{reason}-1", 2))
    bench.restart(settings=Settings(keep_s=3600))
    bench.wait(1)
    assert len(bench.dump()["orders"]) == 2
    bench.pass_time(3600)
    bench.tick()
    for name in ("orders", "runs", "clips", "events", "stale_reports", "alerts", "plans"):
        assert bench.dump()[name] == fresh[name] == [], name


def test_nothing_else_is_forgotten(bench: Bench) -> None:
    bench.restart(settings=Settings(keep_s=3600))
    for order_id in ("old", "retried", "other"):
        bench.ended(order_id)
    bench.started("going")
    bench.submit("waits", input={"data": 1})
    bench.disconnect()  # so that the lease does not expire
    bench.pass_time(1800)
    bench.ask("retry", id="retried", run_id="young")
    bench.pass_time(1801)
    bench.tick()
    left = {order["order_id"]: order["runs"] for order in bench.ask("orders")}
    assert left == {"retried": 2, "going": 1, "waits": 1}
    assert {row[0] for row in bench.dump()["runs"]} == {
        "retried-1", "young", "going-1", "waits-1",
    }  # fmt: skip
    assert len(bench.dump()["clips"]) == 3, "the inputs of all that are left"
    assert len(bench.dump()["plans"]) == 1


def test_a_long_list_is_forgotten_without_long_pauses(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.fleet.control.retention.AT_ONCE", 2)
    bench.restart(settings=Settings(keep_s=10))
    bench.send(*(submission(f"o{n}") for n in range(7)))
    bench.send(*(request("cancel", id=f"o{n}") for n in range(7)))
    bench.pass_time(60)
    bench.wait(5)
    assert bench.ask("orders") == []


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
    bench.ask("cancel", id="two")

    def ids(**query: object) -> list[str]:
        return [order["order_id"] for order in bench.ask("orders", **query)]

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
    assert bench.ask("orders") == bench.ask("workers") == bench.ask("alerts") == []
    assert bench.ask("workflows") == ["flow", "other"]
    for method, fields in (("order", {"order_id": "o"}), ("run", {"id": "o"}),
                           ("events", {"run_id": "o"}), ("shutdown", {})):  # fmt: skip
        assert bench.denied(method, **fields).code == "unknown"


def test_a_nul_is_refused_where_it_would_be_text_in_the_database(bench: Bench) -> None:
    """PostgreSQL has no text with it."""
    assert bench.denied("orders", search="\0").code == "invalid"
    assert bench.denied("orders", workflow="a\0").code == "invalid"
    assert bench.denied("submit", order_id="o", plan=plan("a\0b")).code == "invalid"
    assert Hand(bench).birth(version="\0").kinds == ["malformed"]


def test_an_id_is_a_whole_level_of_a_topic(bench: Bench) -> None:
    before = bench.dump()
    for id in ("a\n", "", "a/b", "+", "#", "é", "x" * 65, ".", "a b", "a\0"):
        assert bench.denied("submit", order_id=id, workflow="flow").code == "invalid", id
        said = Hand(bench).say("claim", claim_id=id, demand=1, incarnation="i")
        assert said.kinds == ["malformed"], id
    assert bench.dump() == before


def test_a_request_with_a_hostile_reply_topic_is_not_done(bench: Bench) -> None:
    before = bench.dump()
    body = {"order_id": "o", "workflow": "flow"}
    for reply_to in ("", "worker/v1/workers/north/cmd", "worker/v1/clients/a/b/rsp",
                     "worker/v1/clients//rsp", "worker/v1/clients/+/rsp",
                     "worker/v1/clients/me/rsp\n", "x/worker/v1/clients/me/rsp"):  # fmt: skip
        message = to(TOPICS.request("submit"), body, reply_to=reply_to)
        said = bench.plane.process([message], bench.now)
        assert [refusal.kind for refusal in said.refusals] == ["reply_topic"], reply_to
        assert not said.messages
    assert bench.dump() == before


def test_a_message_on_an_unknown_topic_is_refused(bench: Bench) -> None:
    beat = {"incarnation": "i", "leases": []}
    for topic in ("", "workers/north/beat", "worker/v1/workers/north/rsp", "$SYS/x",
                  "worker/v1/workers/n/o/beat", "worker/v2/workers/north/beat",
                  "worker/v1/requests/a/b", "worker/v1/requests/"):  # fmt: skip
        assert bench.send(to(topic, beat, reply_to=ME)).kinds == ["unknown"], topic


def test_a_message_that_is_too_large_is_refused(bench: Bench) -> None:
    bench.restart(settings=Settings(payload_limit=1000))
    said = bench.send(submission("o", input={"data": "x" * 1000}))
    assert said.kinds == ["oversized"]
    assert said.replies[0].error is not None and said.replies[0].error.code == "too_large"
    claim = to(TOPICS.worker("north", "claim"), b" " * 1001)
    assert bench.send(claim).kinds == ["oversized"]


def test_a_status_that_was_cleared_says_nothing(bench: Bench) -> None:
    before = bench.dump()
    said = bench.send(to(TOPICS.worker("north", "status"), b""))
    assert not said.refusals
    assert bench.dump() == before


def test_many_workflows_that_wait_are_looked_at_a_part_at_a_time(bench: Bench) -> None:
    for number in range(230):
        brought = to_execution_plan(workflow(job("fn(s => s)")))
        brought["workflow"]["name"] = f"w{number:03}"
        bench.submit(f"o{number}", plan=brought)
    hand = Hand(bench)
    given = [run.order_id for _ in range(3) for run in hand.claim(100)]
    assert sorted(given) == sorted(f"o{number}" for number in range(230))
