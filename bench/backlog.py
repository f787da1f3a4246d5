"""A control plane whose database has 1,000,000 ended and 100,000 queued orders.

`python -m bench.backlog` measures this alone, on SQLite and on PostgreSQL. It needs mosquitto.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import select

from bench.fleet import Started, resident_mb
from bench.fleet_messages import TOPICS, from_worker, report, request, submit
from bench.large_database import DAYS, fill
from bench.table import row
from worker.fleet.connect import connect
from worker.fleet.control.message_processor import MessageProcessor
from worker.fleet.control.policy import Policy, ProjectLimits
from worker.fleet.control.store import audit_rows, queries, tables
from worker.fleet.control.store.store import Store
from worker.fleet.control.triggers.results import due_replies, expects_replies
from worker.fleet.control.unit_of_work import Outgoing, Settings
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.broker import Broker
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.client_messages import (
    CountQuery,
    Empty,
    EventQuery,
    OrderQuery,
    OrderRef,
    RetryRequest,
    RunQuery,
    RunRef,
)
from worker.fleet.messaging.operation_messages import ActionQuery, BulkRequest, EraseRequest
from worker.fleet.messaging.worker_protocol import PROTOCOL, Assignment, Claim

Query = Callable[[], object]
ENDED, QUEUED = 1_000_000, 100_000
REPEATS = 5
DAY_US = 86_400_000_000
_ORDERS = tables.ORDERS.c


def main(ended: int = ENDED, queued: int = QUEUED) -> None:
    """Measure start, memory and queries."""
    from tests.support.databases import Postgres, postgres_binaries

    with tempfile.TemporaryDirectory() as folder:
        _measure("SQLite", f"sqlite:///{folder}/orders.db", ended, queued)
    binaries = postgres_binaries()
    if binaries is None:
        row("a control plane with a large PostgreSQL", "-", "needs PostgreSQL")
        return
    with Postgres(binaries) as postgres:
        _measure("PostgreSQL", postgres.empty(), ended, queued)


def _measure(name: str, url: str, ended: int, queued: int) -> None:
    fill(url, ended=ended, queued=queued, now_us=time.time_ns() // 1000)
    measure(f"{name}, {ended:,} ended and {queued:,} queued", url)


def measure(name: str, url: str) -> None:
    """Measure a database that is filled."""
    with tempfile.TemporaryDirectory() as folder, Broker(kind="mosquitto") as broker:
        start_s, memory_mb = asyncio.run(_start(url, Path(folder), broker))
    taken = Queries(url).measure()
    worst = sorted(taken, key=lambda each: -taken[each])
    row(f"{name}: start", f"{start_s:.1f} s", "to the first reply; aim 3 s")
    row("… memory of the control plane", f"{memory_mb:.0f} MB", "aim 120 MB")
    row(
        "… worst query",
        f"{taken[worst[0]]:.0f} ms",
        "aim 100 ms; " + ", ".join(f"{each} {taken[each]:.0f}" for each in worst[:8]),
    )


async def _start(url: str, folder: Path, broker: Broker) -> tuple[float, float]:
    """Start a control plane; return the seconds to its first reply, and its memory after more."""
    started = Started(folder, broker.url)
    try:
        async with connect(broker.url, wait_s=60) as client:
            began = time.perf_counter()
            control = started.start("control", "control-plane", "--store", url)
            await client.summary()
            start_s = time.perf_counter() - began
            for _ in range(20):
                await client.orders(OrderQuery(limit=1000))
                await client.runs(RunQuery(limit=1000))
                await client.summary()
            return start_s, resident_mb(control.pid)
    finally:
        started.close()


@dataclass(frozen=True, slots=True)
class _Ids:
    """Ids of orders: of one day in the middle, all of them ended; and of queued ones."""

    ended: list[str]
    failed: list[str]
    queued: list[str]
    run: str


class Queries:
    """The queries of the product over one database."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._store = Store(url)
        self._now_us = time.time_ns() // 1000
        settings = Settings(retain_s=(DAYS - 1) * 86_400.0)
        self._plane = MessageProcessor(self._store, topics=TOPICS, policy=_POLICY)
        self._retaining = MessageProcessor(self._store, topics=TOPICS, settings=settings)
        self._numbers = itertools.count()
        self._ids = self._find_ids()

    def measure(self) -> dict[str, float]:
        """Return the milliseconds of each query, by its name."""
        taken = {name: _best_ms(query) for name, query in self._all().items()}
        self._store.close()
        return taken

    def _all(self) -> Mapping[str, Query]:
        return {
            **self._lists("orders", OrderQuery),
            **self._lists("runs", RunQuery),
            **self._counts(),
            **self._single(),
            **self._changes(),
            **self._by_time(),
        }

    def _find_ids(self) -> _Ids:
        def of(*conditions: Any, most: int = 60) -> list[str]:
            return list(
                connection.execute(select(_ORDERS.id).where(*conditions).limit(most)).scalars()
            )

        middle = _ORDERS.created.between(self._now_us - 15 * DAY_US, self._now_us - 14 * DAY_US)
        with self._store.read() as connection:
            [order] = of(middle, _ORDERS.status == "success", most=1)
            return _Ids(
                ended=of(middle, _ORDERS.status == "success"),
                failed=of(middle, _ORDERS.status == "failed"),
                queued=of(_ORDERS.status == "pending"),
                run=queries.runs_of(connection, order)[0].id,
            )

    def _ask(self, method: str, content: wire.Payload) -> Query:
        return lambda: self._handle(request(method, content))

    def _handle(self, *messages: Message) -> Outgoing:
        outgoing = self._plane.process(messages, self._now_us + next(self._numbers))
        assert not outgoing.refusals, outgoing.refusals
        assert not any(b'"error":{' in each.payload for each in outgoing.messages), (
            outgoing.messages
        )
        return outgoing

    def _lists(self, method: str, query: type[OrderQuery]) -> Mapping[str, Query]:
        day = {"since": self._now_us - 20 * DAY_US, "until": self._now_us - 19 * DAY_US}
        filters: dict[str, dict[str, Any]] = {
            "": {},
            " of a status": {"status": "lost"},
            " of a common status": {"status": "success"},
            " of no one's status": {"status": "killed"},
            " of a project": {"project": "p7"},
            " of a project and status": {"project": "p7", "status": "failed"},
            " of a project and rare status": {"project": "p7", "status": "lost"},
            " of a workflow": {"workflow": "w3"},
            " of no workflow": {"workflow": "none"},
            " of a project and no workflow": {"project": "p7", "workflow": "none"},
            " of a status and no workflow": {"status": "success", "workflow": "none"},
            " with a tag": {"tag": "a"},
            " with no tag": {"tag": "none"},
            " of a day": day,
            " of a day and project": {**day, "project": "p7"},
            " of a day, with a search": {**day, "search": "none"},
            " of a far page": {"before": self._now_us - 25 * DAY_US, "beyond": "x"},
            ", 1,000": {"limit": 1000},
            " with a search": {"search": self._ids.ended[0][:8]},
            " with no search": {"search": "none"},
        }  # fmt: skip
        return {
            f"{method}{name}": self._ask(method, query(**fields, partial=True))
            for name, fields in filters.items()
        }

    def _counts(self) -> Mapping[str, Query]:
        filters: dict[str, dict[str, Any]] = {
            "": {},
            " of a status": {"status": "success"},
            " of a project": {"project": "p7"},
            " of a project and status": {"project": "p7", "status": "lost"},
            " of a workflow": {"workflow": "w3"},
            " of no workflow": {"workflow": "none"},
            " with no tag": {"tag": "none"},
            " with no search": {"search": "none"},
        }
        return {
            f"count of {of}{name}": self._ask("count", CountQuery(of=of, partial=True, **fields))
            for of in ("orders", "runs")
            for name, fields in filters.items()
        } | {"summary": self._ask("summary", Empty())}

    def _single(self) -> Mapping[str, Query]:
        run = self._ids.run
        return {
            "an order": self._ask("order", OrderRef(order_id=self._ids.ended[0])),
            "a run": self._ask("run", RunRef(id=run)),
            "its input": self._ask("input", RunRef(id=run)),
            "its events": self._ask("events", EventQuery(run_id=run)),
            "workers": self._ask("workers", Empty()),
            "alerts": self._ask("alerts", Empty()),
            "workflows": self._ask("workflows", Empty()),
            "actions": self._ask("actions", ActionQuery()),
            "actions of a project": self._ask("actions", ActionQuery(project="p7")),
            "pauses": self._ask("pauses", Empty()),
            "dry run of a bulk cancel": self._ask(
                "bulk", _bulk("cancel", dry_run=True, partial=True)
            ),
            "dry run of a bulk retry": self._ask(
                "bulk", _bulk("retry", dry_run=True, partial=True)
            ),
        }

    def _changes(self) -> Mapping[str, Query]:
        ids = self._ids
        ended, failed, queued = iter(ids.ended), iter(ids.failed), iter(ids.queued)

        def retry(order: str) -> Message:
            return request("retry", RetryRequest(id=order, run_id=f"retry-{order}"))

        def erase(order: str) -> Message:
            return request("erase", EraseRequest(order_id=order))

        return {
            "submit": lambda: self._handle(submit(f"new-{next(self._numbers)}", project="p7")),
            "submit over limits": lambda: self._handle(
                submit(f"new-{next(self._numbers)}", project="p8")
            ),
            "retry": lambda: self._handle(retry(next(failed))),
            "cancel": lambda: self._handle(request("cancel", RunRef(id=next(queued)))),
            "erase": lambda: self._handle(erase(next(ended))),
            "bulk retry of 20": lambda: self._handle(
                request("bulk", _bulk("retry", limit=20, batch=str(next(self._numbers))))
            ),
            "bulk cancel of 20": lambda: self._handle(
                request("bulk", _bulk("cancel", limit=20, batch=str(next(self._numbers))))
            ),
            "claim, start and report of 20 runs": self._execute,
        }

    def _execute(self) -> None:
        """Claim runs, and report their ends."""
        claim = Claim(claim_id=uuid4().hex, demand=20, incarnation="i", protocol=PROTOCOL)
        outgoing = self._handle(from_worker("claim", claim))
        [answer] = [each for each in outgoing.messages if each.topic.endswith("/rsp")]
        runs = wire.decode(Assignment, answer.payload).runs
        assert runs
        self._handle(*(report(run.lease) for run in runs))

    def _by_time(self) -> Mapping[str, Query]:
        def read(query: Callable[[Any], object]) -> Query:
            return lambda: self._plane.read(query)

        def later_us() -> int:
            return self._now_us + next(self._numbers) * 70_000_000

        return {
            "connection": lambda: self._plane.on_connected(later_us()),
            "tick": lambda: self._plane.tick(later_us()),
            "tick with retention": lambda: self._retaining.tick(later_us()),
            "survey for metrics": lambda: self._plane.survey(later_us()),
            "page of all states": self._page_of_states,
            "replies that are due": read(due_replies),
            "whether replies are due": read(expects_replies),
            "a page of an audit": lambda: _take(audit_rows.read_orders(self._url), 100),
        }

    def _page_of_states(self) -> None:
        self._plane.publish_all_again()
        self._plane.next_states(self._now_us)


_POLICY = Policy(
    allows_everything=True,
    projects={"p8": ProjectLimits(concurrent=10**6, per_period=10**6, period_s=DAYS * 86_400)},
)


def _bulk(action: Any, *, batch: str = "b", **fields: Any) -> BulkRequest:
    return BulkRequest(action=action, batch=batch, **fields)


def _take(rows: Iterable[Any], count: int) -> None:
    for _ in itertools.islice(rows, count):
        pass


def _best_ms(query: Query) -> float:
    # The best, as other processes of the machine take part in all others.
    taken = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        query()
        taken.append((time.perf_counter() - began) * 1000)
    return min(taken)


if __name__ == "__main__":
    main()
