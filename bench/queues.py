"""The cost of a claim where many projects have runs that wait. `python -m bench.queues` alone."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import msgspec
from sqlalchemy import insert, select

from bench.table import quantile, row
from worker.fleet.control.message_processor import MessageProcessor
from worker.fleet.control.policy import Policy, ProjectLimits
from worker.fleet.control.queue import rank
from worker.fleet.control.store import tables
from worker.fleet.control.store.store import Store
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.client_messages import Submit
from worker.fleet.messaging.topics import Topics
from worker.fleet.messaging.worker_protocol import PROTOCOL, Assignment, Claim

COUNTS = (10, 1_000, 100_000)
CLAIMS = 50
TOPICS = Topics()
NOW_US = 2 * 10**15
STEP = {"id": "a", "adaptor": "common", "expression": "fn(s => s)"}
PLAN = {"workflow": {"name": "bench", "steps": [STEP]}}


def main() -> None:
    """Measure claims where all runs may be leased, and where all are over their limits."""
    for count in COUNTS:
        with tempfile.TemporaryDirectory() as folder:
            store = Store(f"sqlite:///{folder}/orders.db")
            store.migrate()
            _fill(store, count)
            leased = _claims(store, Policy(), min(count, CLAIMS))
            none = _claims(store, Policy(default=ProjectLimits(concurrent=0)), CLAIMS)
            position = _position(store)
            store.close()
        row(
            f"a claim of a run where {count:,} projects wait",
            f"{quantile(leased, 0.5):.2f} ms",
            f"of processor time; p99 {quantile(leased, 0.99):.1f} ms; "
            f"where none of them may be leased: {quantile(none, 0.5):.1f} ms",
        )
        row(
            f"… position of a priority-100 order where {count:,} projects wait",
            f"claim {position}",
            "aim the next claim, 1",
        )


def _fill(store: Store, count: int) -> None:
    """Store waiting runs of ``count`` projects."""
    plane = MessageProcessor(store, topics=TOPICS)
    plane.on_connected(1)
    order = Submit(order_id="o", project="p", plan=msgspec.Raw(msgspec.json.encode(PLAN)))
    request = Message(
        topic=TOPICS.request("submit"), payload=wire.encode(order), reply_to=TOPICS.client("c")
    )
    plane.process([request], NOW_US)
    with store.transaction() as transaction:
        connection = transaction.connection
        for table, changed in (
            (tables.ORDERS, _order),
            (tables.RUNS, _run),
            (tables.QUEUES, _queue),
        ):
            (first,) = connection.execute(select(table)).mappings().all()
            connection.execute(insert(table), [{**first, **new} for new in changed(count)])


def _order(count: int) -> Iterator[dict[str, Any]]:
    for number in range(2 * count):
        yield {"id": f"o{number}", "project": f"p{number // 2}", "last_run": f"o{number}-1"}


def _run(count: int) -> Iterator[dict[str, Any]]:
    for number in range(2 * count):
        yield {
            "id": f"o{number}-1", "order_id": f"o{number}", "project": f"p{number // 2}",
            "age": NOW_US + number,
        }  # fmt: skip


def _queue(count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        since = NOW_US + number
        yield {"project": f"p{number}", "since": since, "rank": rank(0, since)}


def _position(store: Store) -> int:
    """Submit an order of the highest priority, and count the claims until its run is leased."""
    plane = MessageProcessor(store, topics=TOPICS)
    order = Submit(
        order_id="urgent", project="p1", priority=100,
        plan=msgspec.Raw(msgspec.json.encode(PLAN)),
    )  # fmt: skip
    request = Message(
        topic=TOPICS.request("submit"), payload=wire.encode(order), reply_to=TOPICS.client("c")
    )
    plane.process([request], NOW_US)
    for number in range(1, CLAIMS):
        outgoing = plane.process([_claim()], NOW_US)
        [answer] = [each for each in outgoing.messages if each.topic.endswith("/rsp")]
        if wire.decode(Assignment, answer.payload).runs[0].lease.run_id == "urgent-1":
            return number
    raise SystemExit(f"no claim of {CLAIMS} got the order of the highest priority")


def _claim() -> Message:
    claim = Claim(claim_id=uuid4().hex, demand=1, incarnation="i", protocol=PROTOCOL)
    return Message(topic=TOPICS.worker("w", "claim"), payload=wire.encode(claim))


def _claims(store: Store, policy: Policy, count: int) -> list[float]:
    """Return the processor times of claims of one run, in ms."""
    plane = MessageProcessor(store, topics=TOPICS, policy=policy)
    taken = []
    for _ in range(count):
        message = _claim()
        began = time.process_time()
        outgoing = plane.process([message], NOW_US)
        taken.append((time.process_time() - began) * 1000)
        assert not outgoing.refusals
    return taken


if __name__ == "__main__":
    main()
