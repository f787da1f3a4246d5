"""Options of lists, by the names of the fields of :class:`OrderQuery` and :class:`RunQuery`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from worker.cli.options import Decorator, option, options
from worker.cli.times import PastTime
from worker.cli.value_types import OneOf, WholeNumberRange
from worker.core.status import Status
from worker.fleet.client import Client
from worker.fleet.control_errors import ControlError
from worker.fleet.messaging.client_messages import OrderQuery
from worker.util.moments import time_us

# A larger number means as much to a reader, and costs the control plane more.
MAX_COUNT = 100_000


def query_fields(filters: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the values of the options to fields of a query, times in microseconds."""
    times = {name: time_us(filters[name]) for name in ("since", "until")}
    return {**filters, **times}


def next_page(query: OrderQuery, last: Mapping[str, Any]) -> OrderQuery:
    """Return the query for the orders after the last one of a page."""
    return replace(query, before=last["created"], beyond=last["order_id"])


async def print_remaining(client: Client, query: OrderQuery, listed: int, noun: str) -> None:
    """Print how many orders or runs match where a full page may not be all of them."""
    if listed < query.limit:
        return
    try:
        matching = await client.count(query, at_most=MAX_COUNT)
    except ControlError as error:
        # A control plane of an earlier version does not count.
        if error.code != "unknown":
            raise
        return
    if matching > listed:
        total = f"{matching:,}" if matching < MAX_COUNT else f"{matching:,} or more"
        print(f"the newest {listed:,} of {total} {noun}: --limit lists more", file=sys.stderr)


def query_filters(noun: str) -> Decorator:
    """Add the options that choose from a list and limit it; ``noun`` is what it lists."""
    return options(
        order_filters(noun),
        option("--limit", type=WholeNumberRange(1, 1000), default=50, show_default=True,
               metavar="N", help=f"Maximum number of {noun}."),
    )  # fmt: skip


def order_filters(noun: str) -> Decorator:
    """Add the options that choose orders or runs; ``noun`` is what is chosen."""
    return options(
        option("--status", type=OneOf([status.value for status in Status]),
               metavar="STATUS", help=f"Only {noun} with this status."),
        option("--project", metavar="NAME", help=f"Only {noun} of this project."),
        option("--workflow", metavar="NAME", help=f"Only {noun} of this workflow."),
        option("--tag", metavar="TAG", help=f"Only {noun} with this tag."),
        option("--since", type=PastTime(), metavar="TIME",
               help=f"Only {noun} submitted since this time, or in the last 2h."),
        option("--until", type=PastTime(), metavar="TIME",
               help=f"Only {noun} submitted before this time."),
        option("--search", default="", metavar="TEXT",
               help=f"Only {noun} with TEXT in an id, the workflow or a tag."),
    )  # fmt: skip
