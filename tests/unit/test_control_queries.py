"""Queries of clients, and messages that are refused before they are handled. On both databases."""

from __future__ import annotations

from tests.support.benches import ME, TOPICS, Bench, FakeWorker, plan, submission, to
from worker.fleet.control.unit_of_work import Settings


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


def test_queries_of_an_empty_database_are_answered(bench: Bench) -> None:
    assert bench.call("orders") == bench.call("workers") == bench.call("alerts") == []
    assert bench.call("workflows") == ["flow", "other"]
    for method, fields in (("order", {"order_id": "o"}), ("run", {"id": "o"}),
                           ("events", {"run_id": "o"}), ("shutdown", {})):  # fmt: skip
        assert bench.failure(method, **fields).code == "unknown"


# --- refused messages ----------------------------------------------------------------------------


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


def test_a_cleared_presence_is_ignored(bench: Bench) -> None:
    before = bench.dump()
    published = bench.send(to(TOPICS.worker("north", "status"), b""))
    assert not published.refusals
    assert bench.dump() == before
