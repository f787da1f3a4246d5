"""Ids of orders and runs that are cut off, as lists show them."""

from __future__ import annotations

from worker.errors import UsageError
from worker.fleet.client import Client
from worker.fleet.control_errors import ControlError
from worker.fleet.messaging.client_messages import OrderQuery, RunQuery
from worker.workflow.documents.data import did_you_mean

_MAX_NAMED = 5


async def find_run_id(client: Client, text: str) -> str:
    """Return the id of the run that ``text`` is or begins, or of an order's last run.

    Raises as :func:`find_id`.
    """
    run = await client.run(await find_id(client, text))
    return str(run["run_id"])


async def find_id(client: Client, text: str) -> str:
    """Return the id of the run, or of the order, that ``text`` is or begins.

    Raises :class:`UsageError` where several begin so, and :class:`ControlError` where none does.
    """
    try:
        await client.run(text)
    except ControlError as error:
        if error.code != "unknown":
            raise
        runs = [run["run_id"] for run in await client.runs(RunQuery(search=text))]
        matching = [id for id in runs if id.startswith(text)]
        if matching:
            return _only(text, matching)
        # Also where the text is the whole id of an order that has no run, as it was rejected.
        return await _order(client, text, error)
    return text


async def find_order_id(client: Client, text: str) -> str:
    """Return the id of the order that ``text`` is or begins; see :func:`find_id`."""
    try:
        await client.order(text)
    except ControlError as error:
        if error.code != "unknown":
            raise
        return await _order(client, text, error)
    return text


async def _order(client: Client, text: str, error: ControlError) -> str:
    orders = await client.orders(OrderQuery(search=text))
    ids = [order["order_id"] for order in orders]
    if text in ids:
        return text
    matching = [id for id in ids if id.startswith(text)]
    if not matching:
        raise ControlError(error.code, f"{error}{await _suggestion(client, text)}") from error
    return _only(text, matching)


async def _suggestion(client: Client, text: str) -> str:
    """Return the end of a message: which of the newest orders and runs was meant."""
    orders = await client.orders(OrderQuery())
    ids = [str(order[key]) for order in orders for key in ("order_id", "last_run") if order[key]]
    return did_you_mean(text, ids) or "; worker orders and worker runs list them"


def _only(text: str, matching: list[str]) -> str:
    if len(matching) > 1:
        named = ", ".join(matching[:_MAX_NAMED])
        more = ", …" if len(matching) > _MAX_NAMED else ""
        raise UsageError(f"'{text}' begins several ids: {named}{more}")
    return matching[0]
