"""``worker orders cancel`` and ``retry``: one order, or all that match."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import datetime
from typing import Any, Literal

import click

from worker.cli import complete
from worker.cli.cancel import cancel_run
from worker.cli.connection import BrokerConnection
from worker.cli.options import Decorator, as_json, client_options, command, option, options
from worker.cli.query_filters import order_filters, query_fields
from worker.cli.retry import retry_order
from worker.errors import UsageError
from worker.fleet.client import Client
from worker.fleet.messaging.messages import OrderQuery
from worker.util.json import dumps
from worker.util.plural import count_of

Action = Literal["cancel", "retry"]


def _many(verb: str) -> Decorator:
    return options(
        order_filters("orders"),
        option("--dry-run", is_flag=True, help=f"Count the orders, and {verb} none."),
        option("--yes", is_flag=True, help="Do not ask before many orders are changed."),
    )


@command()
@click.argument("order", required=False, shell_complete=complete.order_ids)
@_many("cancel")
@as_json
@client_options
def cancel(*, connection: BrokerConnection, order: str | None, **rest: Any) -> int:
    """Cancel an order, or all orders that match.

    ORDER is the id of an order or of a run. Without it the options choose the orders; those that
    have ended stay as they are.

    \b
    Examples:
      worker orders cancel 5f0c9e
      worker orders cancel --workflow Referral --status pending --dry-run
      worker orders cancel --project north --since 1h --yes

    \b
    Exit code: 0 cancelled, 1 one ORDER ended in another way first.
    """
    if order is not None:
        return cancel_run(connection, order, as_json=_alone(rest))
    return change_many(connection, "cancel", **rest)


@command()
@click.argument("order", required=False, shell_complete=complete.order_ids)
@_many("retry")
@as_json
@client_options
def retry(*, connection: BrokerConnection, order: str | None, **rest: Any) -> int:
    """Run an order again, or all orders that match and did not succeed.

    ORDER is the id of an order or of a run. Without it the options choose the orders, which are run
    in the order in which they were received. `worker retry` has more options for one ORDER.

    \b
    Examples:
      worker orders retry 5f0c9e
      worker orders retry --status failed --workflow Referral --since 2h --dry-run
      worker orders retry --status lost --project north --yes
    """
    if order is not None:
        return retry_order(connection, order, as_json=_alone(rest))
    return change_many(connection, "retry", **rest)


def _alone(rest: dict[str, Any]) -> bool:
    """Return ``--json``. Raises :class:`UsageError` where other options stand beside an order."""
    as_json = bool(rest.pop("as_json"))
    if any(rest.values()):
        raise UsageError("expected either an ORDER, or options that choose several")
    return as_json


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
        raise UsageError("expected an ORDER, or an option that chooses several, such as --status")
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
