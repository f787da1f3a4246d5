"""Changes of many orders: all that match are cancelled, or run again."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import click

from worker.cli.connection import BrokerConnection
from worker.cli.options import Decorator, option, options
from worker.cli.query_filters import order_filters, query_fields
from worker.errors import UsageError
from worker.fleet.client import Client
from worker.fleet.messaging.client_messages import OrderQuery
from worker.util.json import dumps
from worker.util.plural import count_of

Action = Literal["cancel", "retry"]


def many_orders(verb: str) -> Decorator:
    """Add the options that choose many orders; ``verb`` is what is done with them."""
    return options(
        order_filters("orders"),
        option("--dry-run", is_flag=True, help=f"Count the orders, and {verb} none."),
        option("--yes", is_flag=True, help="Change orders without a question."),
    )


def check_alone(order: str | None, many: Mapping[str, Any], **single: Any) -> None:
    """Raise :class:`UsageError` where options of one order and of many stand together."""
    if order is not None and any(many.values()):
        raise UsageError("expected either the id of one order, or options that choose several")
    named = [name for name, value in single.items() if value]
    if order is None and named:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in named)
        raise UsageError(f"{options}: only for one order, by its id")


def change_many(
    connection: BrokerConnection,
    action: Action,
    *,
    as_json: bool,
    dry_run: bool,
    yes: bool,
    **filters: str | datetime | None,
) -> int:
    """Cancel or retry all orders that match. Return the exit code."""
    if not any(filters.values()):
        raise UsageError("expected an id, or an option that chooses several, such as --status")
    query = OrderQuery(**query_fields(filters))

    async def request(client: Client) -> int:
        count = await client.count_matching(action, query)
        if dry_run or not count:
            _print_count(action, count, as_json=as_json)
            return 0
        if not yes:
            _confirm(action, count)
        changed, skipped = 0, Counter[str]()
        async for step in client.change_all(action, query):
            changed += step["changed"]
            skipped.update(step["skipped"])
        _print_changes(action, changed, skipped, as_json=as_json)
        return 0

    return connection.run(request)


def _confirm(action: Action, count: int) -> None:
    if not sys.stdin.isatty():
        raise UsageError(f"{count_of(count, 'order')} would be changed: add --yes to {action} them")
    click.confirm(f"{action} {count_of(count, 'order')}?", abort=True, err=True)


def _print_count(action: Action, count: int, *, as_json: bool) -> None:
    if as_json:
        print(dumps({"action": action, "matching": count}))
    else:
        print(f"{count_of(count, 'order')} to {action}")


def _print_changes(action: Action, changed: int, skipped: Counter[str], *, as_json: bool) -> None:
    if as_json:
        print(dumps({"action": action, "changed": changed, "skipped": dict(skipped)}))
        return
    done = {"cancel": "cancelled", "retry": "to run again"}[action]
    print(f"{count_of(changed, 'order')} {done}")
    for reason, count in skipped.items():
        print(f"{count_of(count, 'order')} left as they are: {reason}", file=sys.stderr)
