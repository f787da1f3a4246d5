"""Queries of clients, and messages that are refused before they are handled. On both databases."""

from __future__ import annotations

import pytest

from tests.support.control_plane_harness import (
    ME,
    TOPICS,
    ControlPlaneHarness,
    FakeWorker,
    event,
    plan,
    request,
    submission,
    to,
)
from worker.fleet.control import plane_metrics, query_budget
from worker.fleet.control.client_queries import STEP_ROWS
from worker.fleet.control.inbound import MAX_CORRELATION_BYTES
from worker.fleet.control.store import queries
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.messaging.bus import Message


def test_orders_are_listed_newest_first_and_found_by_what_they_are(
    harness: ControlPlaneHarness,
) -> None:
    harness.submit("one", project="p")
    harness.submit("two", workflow="other")
    harness.submit("three")
    harness.call("cancel", id="two")

    def ids(**query: object) -> list[str]:
        return [order["order_id"] for order in harness.call("orders", **query)]

    assert ids() == ["three", "two", "one"]
    assert ids(limit=1) == ["three"]
    assert ids(project="p") == ["one"]
    assert ids(status="cancelled") == ["two"]
    assert ids(workflow="flow") == ["three", "one"]
    assert ids(search="O") == ["three", "two", "one"], "in a name or an id, in any case"
    assert ids(search="TW") == ["two"]
    assert ids(search="%") == ids(search="_") == []
    assert ids(before=harness.order("two")["created"]) == ["one"]


def test_orders_and_runs_that_match_are_counted(harness: ControlPlaneHarness) -> None:
    for id in ("one", "two", "three"):
        harness.submit(id, project="p")
    harness.call("cancel", id="one")
    harness.call("retry", id="one", run_id="again")

    def count(**query: object) -> int:
        return int(harness.call("count", **query)["matching"])

    assert (count(), count(of="runs")) == (3, 4)
    assert count(limit=1, before=0) == 3, "of all pages"
    assert count(at_most=2) == 2
    assert count(of="runs", status="cancelled") == count(search="TW") == 1
    assert count(since=harness.order("two")["created"]) == 2
    assert count(project="other") == 0


def test_runs_are_listed_by_their_own_status(harness: ControlPlaneHarness) -> None:
    harness.submit("one", project="p")
    first = harness.call("cancel", id="one")["run_id"]
    harness.call("retry", id="one", run_id="again")
    harness.submit("two", workflow="other")

    def ids(**query: object) -> list[str]:
        return [run["run_id"] for run in harness.call("runs", **query)]

    (second,) = ids(workflow="other")
    assert ids() == [second, "again", first]
    assert ids(limit=2) == [second, "again"]
    assert ids(status="cancelled") == [first], "the order is pending again"
    assert ids(project="p") == ids(search="ONE") == ["again", first], "by the id of the order too"
    assert ids(search="again") == ["again"]
    newest = harness.call("runs", limit=1)[0]["created"]
    assert ids(before=newest) == ["again", first]


def test_queries_of_an_empty_database_are_answered(harness: ControlPlaneHarness) -> None:
    for method in ("orders", "runs", "workers", "alerts"):
        assert harness.call(method) == []
    assert harness.call("workflows") == ["flow", "other"]
    for method, fields in (("order", {"order_id": "o"}), ("run", {"id": "o"}),
                           ("events", {"run_id": "o"}), ("shutdown", {})):  # fmt: skip
        assert harness.failure(method, **fields).code == "unknown"


# --- refused messages ----------------------------------------------------------------------------


def test_a_nul_is_refused_where_it_would_be_text_in_the_database(
    harness: ControlPlaneHarness,
) -> None:
    """PostgreSQL has no text with it."""
    assert harness.failure("orders", search="\0").code == "invalid"
    assert harness.failure("orders", workflow="a\0").code == "invalid"
    assert harness.failure("submit", order_id="o", plan=plan("a\0b")).code == "invalid"
    assert FakeWorker(harness).birth(version="\0").kinds == ["malformed"]


def test_an_id_is_a_whole_level_of_a_topic(harness: ControlPlaneHarness) -> None:
    before = harness.dump()
    for id in ("a\n", "", "a/b", "+", "#", "é", "x" * 65, ".", "a b", "a\0"):
        assert harness.failure("submit", order_id=id, workflow="flow").code == "invalid", id
        published = FakeWorker(harness).send("claim", claim_id=id, demand=1, incarnation="i")
        assert published.kinds == ["malformed"], id
    assert harness.dump() == before


def test_a_request_with_a_hostile_reply_topic_is_not_done(harness: ControlPlaneHarness) -> None:
    before = harness.dump()
    body = {"order_id": "o", "workflow": "flow"}
    for reply_to in ("worker/v1/workers/north/cmd", "worker/v1/clients/a/b/rsp",
                     "worker/v1/clients//rsp", "worker/v1/clients/+/rsp",
                     "worker/v1/clients/me/rsp\n", "x/worker/v1/clients/me/rsp"):  # fmt: skip
        message = to(TOPICS.request("submit"), body, reply_to=reply_to)
        published = harness.processor.process([message], harness.now)
        assert [refusal.kind for refusal in published.refusals] == ["reply_topic"], reply_to
        assert not published.messages
    assert harness.dump() == before


def test_correlation_data_that_would_not_fit_a_reply_get_none(
    harness: ControlPlaneHarness,
) -> None:
    topic, reply_to = TOPICS.request("workflows"), TOPICS.client("me")
    for size, kinds in ((MAX_CORRELATION_BYTES, []), (MAX_CORRELATION_BYTES + 1, ["oversized"])):
        message = Message(topic=topic, payload=b"{}", reply_to=reply_to, correlation=b"c" * size)
        published = harness.processor.process([message], harness.now)
        assert [refusal.kind for refusal in published.refusals] == kinds
        assert [len(reply.correlation) for reply in published.messages] == [size] * (not kinds)


def test_a_message_on_an_unknown_topic_is_refused(harness: ControlPlaneHarness) -> None:
    beat = {"incarnation": "i", "leases": []}
    for topic in ("", "workers/north/beat", "worker/v1/workers/north/rsp", "$SYS/x",
                  "worker/v1/workers/n/o/beat", "worker/v2/workers/north/beat",
                  "worker/v1/requests/a/b", "worker/v1/requests/"):  # fmt: skip
        assert harness.send(to(topic, beat, reply_to=ME)).kinds == ["unknown"], topic


def test_a_message_that_is_too_large_is_refused(harness: ControlPlaneHarness) -> None:
    harness.restart(settings=Settings(max_payload_bytes=1000))
    published = harness.send(submission("o", input={"data": "x" * 1000}))
    assert published.kinds == ["oversized"]
    assert published.replies[0].error is not None and published.replies[0].error.code == "too_large"
    claim = to(TOPICS.worker("north", "claim"), b" " * 1001)
    assert harness.send(claim).kinds == ["oversized"]


def test_a_cleared_presence_is_ignored(harness: ControlPlaneHarness) -> None:
    before = harness.dump()
    published = harness.send(to(TOPICS.worker("north", "status"), b""))
    assert not published.refusals
    assert harness.dump() == before


def test_the_projects_with_the_most_runs_have_figures_and_the_others_one_together(
    harness: ControlPlaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first two have two phases each, one of them with less than what others have."""
    monkeypatch.setattr(plane_metrics, "MAX_PROJECTS", 2)
    harness.submit("a-later", project="a", not_before=harness.now + 10**9)
    harness.submit("b-later", project="b", not_before=harness.now + 10**9)
    for project, count in (("c", 2), ("b", 2), ("a", 3), ("d", 1)):
        for number in range(count):
            harness.submit(f"{project}{number}", project=project)
            harness.pass_time(1)
    survey = harness.processor.survey(harness.now)
    assert survey.runs == {
        "a,available": 3, "a,delayed": 1, "b,available": 2, "b,delayed": 1, "*,available": 3
    }  # fmt: skip
    assert survey.runs.keys() == survey.oldest_us.keys()
    oldest = survey.oldest_us
    assert oldest["*,available"] < oldest["b,available"] < oldest["a,available"]


def test_all_projects_have_figures_where_these_are_few(harness: ControlPlaneHarness) -> None:
    harness.submit("o")
    assert list(harness.processor.survey(harness.now).runs) == ["default,available"]


def test_a_run_lists_its_last_executions_and_a_retry_looks_through_the_first(
    harness: ControlPlaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tries to keep a fleet waiting with one query for a run of very many executions."""
    monkeypatch.setattr(queries, "MAX_STEPS", 3)
    monkeypatch.setattr(queries, "MAX_SEARCHED", 2)
    north, lease = harness.started()
    for number in range(5):
        fields = {"step_id": f"s{number}", "job_id": f"job{number}"}
        seq = 1 + 2 * number
        clip = f"clip-{number}"
        start = event(lease.run_id, seq, "step:start", **fields, input_dataclip_id=clip)
        north.report(lease, start, event(lease.run_id, seq + 1, "step:complete", **fields))
    assert [step["job_id"] for step in harness.run()["steps"]] == ["job2", "job3", "job4"]
    monkeypatch.setattr(query_budget, "MAX_COST", 3 * STEP_ROWS)
    outgoing = harness.processor.process([request("run", id=lease.run_id)] * 3, harness.now)
    assert (len(outgoing.messages), len(outgoing.postponed)) == (1, 2)
    assert north.finish(lease, 11, "fail").upto == 11
    failure = harness.failure("retry", id="o", run_id="r2", from_step="job2")
    assert "'job2' is stored" in failure.message
    assert "or not among the first 2 steps" in failure.message
    assert "withheld" in harness.failure("retry", id="o", run_id="r2", from_step="job1").message
