"""Contents that are too large for a message: chunks both ways, bounded assignments, refusals."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tests.support.control_plane_harness import (
    ME,
    SECOND,
    TOPICS,
    ControlPlaneHarness,
    FakeWorker,
    event,
    plan,
    rows,
    to,
)
from worker.fleet.control.policy import ClientRights, Policy
from worker.fleet.control.store import tables
from worker.fleet.control.store.store import Store
from worker.fleet.control.unit_of_work import Settings
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.client_messages import Reply
from worker.fleet.messaging.content import (
    CHUNK_WINDOW,
    ContentDownload,
    ContentUpload,
    chunk_at,
    chunk_bytes,
    chunks_of,
    joined,
    ref_of,
)
from worker.fleet.messaging.worker_protocol import AssignedRun
from worker.fleet.worker.content_fetcher import PlanCache, RunContents

LIMIT = 16 * 1024
CONTENT = bytes(range(256)) * 200


@pytest.fixture
def small(harness: ControlPlaneHarness) -> ControlPlaneHarness:
    """Provide a harness whose messages have up to 16 kB, and whose orders up to 100 kB."""
    harness.restart(settings=Settings(max_message_bytes=LIMIT, max_payload_bytes=100_000))
    harness.pass_time(60)
    return harness


def test_a_content_is_split_and_joined_in_any_order_of_its_chunks() -> None:
    chunks = chunks_of(CONTENT, LIMIT)
    assert all(len(wire.encode(chunk)) <= LIMIT for chunk in chunks) and len(chunks) > 3
    parts = {chunk.offset: chunk.data for chunk in reversed(chunks)}
    assert joined(ref_of(CONTENT), parts) == CONTENT
    assert joined(ref_of(CONTENT), dict(list(parts.items())[1:])) is None, "one is missing"
    assert joined(ref_of(CONTENT), {**parts, 0: b"x" * len(parts[0])}) is None, "another content"
    # The limit of a message has changed on the way.
    larger = {chunk.offset: chunk.data for chunk in chunks_of(CONTENT, 2 * LIMIT - 1000)}
    assert joined(ref_of(CONTENT), {**larger, **parts}) == CONTENT


def test_an_upload_sends_its_first_chunk_alone_and_repeats_what_has_no_response() -> None:
    upload = ContentUpload(CONTENT)
    (first,) = upload.due(0.0, LIMIT)
    assert first.offset == 0 and upload.due(1.9, LIMIT) == []
    assert upload.due(2.0, LIMIT) == [first]
    upload.stored(0)
    assert len(upload.due(2.1, LIMIT)) == min(CHUNK_WINDOW, len(chunks_of(CONTENT, LIMIT)) - 1)
    upload.restart()
    assert upload.due(2.2, LIMIT) == [first]
    while not upload.complete:
        for chunk in [first, *upload.due(10.0, LIMIT)]:
            upload.stored(chunk.offset)


def test_a_download_takes_chunks_once_in_order_and_starts_anew_where_the_hash_is_wrong() -> None:
    download, ref = ContentDownload(), ref_of(CONTENT)
    assert download.add(chunk_at(CONTENT, ref, 0, LIMIT)) is None
    assert download.add(chunk_at(CONTENT, ref, 0, LIMIT)) is None, "a repetition"
    assert download.offset == chunk_bytes(LIMIT)
    other = wire.Chunk(content=ref, offset=download.offset, data=CONTENT[download.offset + 1 :])
    assert download.add(other) is None
    last = wire.Chunk(content=ref, offset=download.offset, data=b"x")
    assert download.add(last) is None and download.offset == 0, "as many bytes, and another hash"
    for chunk in chunks_of(CONTENT, LIMIT):
        content = download.add(chunk)
    assert content == CONTENT


@pytest.mark.parametrize("size", [2**30 + 1, 2**53, len(CONTENT) - 1])
def test_a_download_of_any_size_or_of_more_than_its_size_takes_no_bytes(size: int) -> None:
    download, ref = ContentDownload(), wire.ContentRef(hash="0" * 64, size=size)
    assert download.add(wire.Chunk(content=ref, offset=0, data=CONTENT)) is None
    assert download.offset == 0


def send_chunk(harness: ControlPlaneHarness, chunk: wire.Chunk, reply_to: str = ME) -> Reply:
    message = to(TOPICS.request("chunk"), wire.encode(chunk), reply_to=reply_to)
    (reply,) = harness.send(message).replies
    return reply


def send_order(harness: ControlPlaneHarness, order: dict[str, Any]) -> Reply:
    """Send an order in chunks, and what refers to it."""
    content = wire.encode({"workflow": "flow", **order})
    for chunk in chunks_of(content, LIMIT):
        reply = send_chunk(harness, chunk)
        if reply.error is not None:
            return reply
    refers = {"content": ref_of(content)}
    (reply,) = harness.send(to(TOPICS.request("submit"), refers, reply_to=ME)).replies
    return reply


def test_an_order_in_chunks_is_accepted_once(small: ControlPlaneHarness) -> None:
    big = {"order_id": "big", "input": {"data": "x" * 50_000}}
    first, again = send_order(small, big), send_order(small, big)
    assert first.error is None and again.error is None
    assert small.order("big")["runs"] == 1
    other = send_order(small, {"order_id": "big", "input": {"data": "y" * 50_000}})
    assert other.error is not None and other.error.code == "conflict"


def test_an_order_over_the_limit_is_refused_at_its_first_chunk(small: ControlPlaneHarness) -> None:
    reply = send_order(small, {"order_id": "huge", "input": {"data": "x" * 100_000}})
    assert reply.error is not None and reply.error.code == "too_large"
    assert "the limit is 100,000 (--payload-limit)" in reply.error.message
    with small.store.read() as connection:
        assert rows(connection, tables.CHUNKS) == []


def test_chunks_are_their_senders_and_are_forgotten_after_an_hour(
    small: ControlPlaneHarness,
) -> None:
    content = wire.encode({"workflow": "flow", "order_id": "o", "input": {"data": "x" * 20_000}})
    for chunk in chunks_of(content, LIMIT):
        send_chunk(small, chunk, TOPICS.client("other"))
    missing = small.failure("submit", content=ref_of(content))
    assert missing.code == "missing", "they are another client's"
    # Half of it only, as its client has ended.
    send_chunk(small, chunks_of(content, LIMIT)[0])
    assert small.failure("submit", content=ref_of(content)).code == "missing"
    small.pass_time(3600)
    small.tick()
    small.pass_time(61)
    small.tick()
    with small.store.read() as connection:
        assert rows(connection, tables.CHUNKS) == []


def test_a_project_in_chunks_needs_the_right_to_deploy_and_no_other(store: Store) -> None:
    deploys, submits = (ClientRights(may=frozenset({right})) for right in ("deploy", "submit"))
    policy = Policy(clients={"ci": deploys, "gateway": submits})
    harness = ControlPlaneHarness(store, policy=policy)
    document = plan("large")
    document["workflow"]["steps"][0]["expression"] = f"fn(s => s) // {'x' * 50_000}"
    content = wire.encode({"workflows": [{"plan": document}]})
    refers = {"content": ref_of(content)}

    def reply_to(user: str, method: str, body: Any) -> Reply:
        topic = f"{TOPICS.request(method)}/{user}"
        (reply,) = harness.send(to(topic, body, reply_to=ME)).replies
        return reply

    for user, code in (("gateway", "denied"), ("ci", None)):
        for chunk in chunks_of(content, LIMIT):
            assert reply_to(user, "chunk", wire.encode(chunk)).error is None
        error = reply_to(user, "deploy", refers).error
        assert (None if error is None else error.code) == code
    nested = wire.encode({"content": ref_of(content)})
    for chunk in chunks_of(nested, LIMIT):
        reply_to("ci", "chunk", wire.encode(chunk))
    refused: list[dict[str, Any]] = [{"content": ref_of(nested)}, {"workflows": []}, {}]
    for fields in refused:
        error = reply_to("ci", "deploy", fields).error
        assert error is not None and error.code == "invalid"


@pytest.mark.parametrize(
    "chunk",
    [
        wire.Chunk(content=ref_of(b"abc"), offset=1, data=b"abc"),
        wire.Chunk(content=ref_of(b"abc"), offset=0, data=b""),
        wire.Chunk(content=ref_of(b"abc"), offset=5, data=b"a"),
    ],
)
def test_a_chunk_that_is_no_part_of_its_content_is_refused(
    small: ControlPlaneHarness, chunk: wire.Chunk
) -> None:
    reply = send_chunk(small, chunk)
    assert reply.error is not None and reply.error.code == "invalid"


def stored_bytes(harness: ControlPlaneHarness) -> int:
    with harness.store.read() as connection:
        return sum(len(row["data"]) for row in rows(connection, tables.CHUNKS))


def test_a_chunk_before_the_first_is_refused_as_it_has_reserved_nothing(
    small: ControlPlaneHarness,
) -> None:
    first, second, *_ = chunks_of(CONTENT, LIMIT)
    reply = send_chunk(small, second)
    assert reply.error is not None and reply.error.code == "missing"
    worker = FakeWorker(small)
    published = worker.send("chunk", **msgspec.structs.asdict(second))
    assert (published.stored, published.missing) == ([], [second.content.hash])
    assert stored_bytes(small) == 0
    send_chunk(small, first)
    assert send_chunk(small, second).error is None


def test_chunks_that_overlap_do_not_exceed_twice_the_size_of_their_content(
    small: ControlPlaneHarness,
) -> None:
    ref = ref_of(CONTENT)
    replies = [
        send_chunk(small, wire.Chunk(content=ref, offset=offset, data=CONTENT[offset:][:8000]))
        for offset in range(0, len(CONTENT) - 8000, 1000)
    ]
    codes = [reply.error.code for reply in replies if reply.error is not None]
    assert codes and set(codes) == {"busy"}
    assert len(CONTENT) < stored_bytes(small) <= 2 * len(CONTENT)


@pytest.mark.parametrize("other", [{"size": 90_000}, {"data": b"x"}], ids=["larger", "tiny"])
def test_a_chunk_that_would_cost_more_than_was_reserved_is_refused(
    small: ControlPlaneHarness, other: dict[str, Any]
) -> None:
    first = chunks_of(CONTENT, LIMIT)[0]
    send_chunk(small, first)
    ref = wire.ContentRef(hash=first.content.hash, size=other.get("size", len(CONTENT)))
    chunk = wire.Chunk(content=ref, offset=100, data=other.get("data", b"x" * 2000))
    reply = send_chunk(small, chunk)
    assert reply.error is not None and reply.error.code == "invalid"


def test_the_contents_of_one_batch_are_counted_together(
    small: ControlPlaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.fleet.control.uploads.MAX_UPLOADED_BYTES", 2 * len(CONTENT))
    contents = [bytes([number]) + CONTENT[1:] for number in range(4)]
    first = [chunks_of(content, LIMIT)[0] for content in contents]
    published = small.send(
        *(to(TOPICS.request("chunk"), wire.encode(chunk), reply_to=ME) for chunk in first)
    )
    assert [reply.error and reply.error.code for reply in published.replies] == [
        None, None, "busy", "busy",
    ]  # fmt: skip


def test_contents_of_senders_that_have_ended_make_room_where_there_is_none(
    small: ControlPlaneHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.fleet.control.uploads.MAX_UPLOADED_BYTES", 2 * len(CONTENT))
    ended, alive, other = (chunks_of(bytes([n]) + CONTENT[1:], LIMIT) for n in range(1, 4))
    send_chunk(small, ended[0], TOPICS.client("ended"))
    send_chunk(small, alive[0])
    small.pass_time(40)
    send_chunk(small, alive[1])
    small.pass_time(40)
    assert send_chunk(small, other[0], TOPICS.client("other")).error is None
    assert send_chunk(small, alive[2]).error is None, "it goes on"
    late = send_chunk(small, ended[1], TOPICS.client("ended")).error
    assert late is not None and late.code == "missing", "it begins anew"
    full = send_chunk(small, ended[0], TOPICS.client("ended")).error
    assert full is not None and full.code == "busy"


# --- assignments ----------------------------------------------------------------------------------


def fetched(worker: FakeWorker, run: AssignedRun, contents: RunContents) -> AssignedRun:
    """Fetch what an assignment left out."""
    complete = contents.complete(run)
    while complete is None:
        (request,) = contents.due(0.0)
        published = worker.send("fetch", **msgspec.structs.asdict(request))
        (response,) = published.fetched
        assert len(wire.encode(response)) <= LIMIT
        complete = contents.receive(response)
    return complete


def test_an_assignment_fits_a_message_and_the_rest_is_fetched(small: ControlPlaneHarness) -> None:
    inputs = {f"o{number}": {"data": str(number) * 30_000} for number in range(3)}
    for order_id, input in inputs.items():
        assert send_order(small, {"order_id": order_id, "input": input}).error is None
    small.submit("tiny", input={"data": "tiny"})
    worker, contents = FakeWorker(small), RunContents()
    runs = worker.claim(4)
    assert len(runs) == 4 and [bytes(run.input) == b"null" for run in runs] == [True] * 3 + [False]
    for run in runs[:3]:
        complete = fetched(worker, run, contents)
        assert json.loads(bytes(complete.input)) == inputs[run.order_id]


def test_a_large_plan_is_fetched_once_and_cached(small: ControlPlaneHarness) -> None:
    large = plan("large")
    large["workflow"]["steps"][0]["expression"] = f"fn(s => s) // {'x' * 40_000}"
    for order_id in ("a", "b"):
        assert (
            send_order(small, {"order_id": order_id, "plan": large, "workflow": None}).error is None
        )
    worker, contents = FakeWorker(small), RunContents()
    published = worker.send("claim", claim_id="c", demand=2, incarnation="i1")
    (assignment,) = published.assignments
    first, second = assignment.runs
    complete = fetched(worker, first, contents)
    assert "x" * 40_000 in json.loads(bytes(complete.plan))["workflow"]["steps"][0]["expression"]
    assert contents.complete(second) is not None


def test_an_assignment_is_bounded_and_the_others_wait_for_the_next_claim(
    small: ControlPlaneHarness,
) -> None:
    for number in range(40):
        small.submit(f"o{number}")
    worker = FakeWorker(small)
    first = worker.claim(40)
    assert 10 < len(first) < 40
    assert len(worker.claim(40)) > 10, "the next claim gets more of them"


def test_only_the_holder_of_a_lease_fetches(small: ControlPlaneHarness) -> None:
    worker, lease = small.claimed()
    forged = msgspec.structs.replace(lease, token="token-of-another")
    published = worker.send("fetch", lease=forged, part="input", offset=0)
    assert published.fetched == [] and published.kinds == ["forged"]
    assert published.commands[0].abandon[0].run_id == lease.run_id


def test_a_plan_cache_is_bounded() -> None:
    cache = PlanCache(max_bytes=100)
    for name in ("a", "b", "c"):
        cache.put(name, msgspec.Raw(b"x" * 40))
    assert cache.get("a") is None and cache.get("c") is not None


# --- reports --------------------------------------------------------------------------------------


def test_a_large_event_comes_in_chunks_before_its_report(small: ControlPlaneHarness) -> None:
    worker, lease = small.started()
    state = {"data": "x" * 40_000}
    done = wire.encode(
        event(lease.run_id, 1, "run:complete", reason="success", final_state=state,
              final_dataclip_id="c1")
    )  # fmt: skip
    report = {"number": 1, "runs": [{"lease": lease, "content": ref_of(done)}]}
    published = worker.send("reports", **report)
    assert published.missing == [ref_of(done).hash] and published.acks[0].upto == 0
    for chunk in chunks_of(done, LIMIT):
        (stored,) = worker.send("chunk", **msgspec.structs.asdict(chunk)).stored
        assert not stored.refused
    assert worker.send("reports", **report).acks[0].upto == 1
    assert small.status() == "success"
    assert worker.send("reports", **report).acks[0].upto == 1, "a repetition"


def test_a_reply_that_is_too_large_comes_in_chunks(small: ControlPlaneHarness) -> None:
    for number in range(40):
        small.submit(f"o{number}")
    small.processor.limit_messages(LIMIT // 4)
    request = to(TOPICS.request("orders"), {"limit": 40}, reply_to=ME)
    outgoing = small.processor.process([request], small.now + SECOND)
    assert len(outgoing.messages) > 1
    assert all(len(message.payload) <= LIMIT // 4 and message.bulk for message in outgoing.messages)
    replies = [wire.decode(Reply, message.payload) for message in outgoing.messages]
    chunks = [reply.chunk for reply in replies if reply.chunk is not None]
    content = joined(chunks[0].content, {chunk.offset: chunk.data for chunk in chunks})
    assert content is not None and len(json.loads(content)) == 40


def test_published_events_are_split_and_what_is_too_large_is_left_to_queries(
    small: ControlPlaneHarness,
) -> None:
    worker, lease = small.started()
    log: dict[str, Any] = {"source": "JOB", "level": "info"}
    texts = ["x" * 9_000, "y" * 9_000, "z" * 30_000]
    events = [
        event(lease.run_id, number + 1, "run:log", message=text, **log)
        for number, text in enumerate(texts)
    ]
    published = worker.report(lease, *events)
    assert [len(message.events) for message in published.events] == [1, 1]
    assert all(len(wire.encode(message)) <= LIMIT for message in published.events)
