"""Page that creates an order."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
from starlette.datastructures import ImmutableMultiDict
from starlette.requests import Request
from starlette.responses import Response

from worker.errors import LoadError
from worker.fleet.client import Client
from worker.fleet.control_errors import ControlError
from worker.fleet.messaging.messages import RunOptions
from worker.view.dashboard.context import (
    app_context,
    current_session,
    redirect_to,
    render_template,
)
from worker.view.dashboard.run_view import json_text
from worker.workflow.documents.json_reader import parse
from worker.workflow.documents.mismatch import describe_mismatch

Form = ImmutableMultiDict[str, str]
# Characters of an input that a text area takes: encoded, each has up to twelve in the form.
MAX_EDITED = 80_000


async def form(request: Request) -> Response:
    """Show an empty form, or one with the workflow, or the earlier run, of the address."""
    query = request.query_params
    # The id is in the form: a form that is sent twice creates one order.
    values = {"order_id": uuid.uuid4().hex, "workflow": query.get("workflow", ""), "input": "{}"}
    if again := query.get("again"):
        values |= await _values_of(app_context(request).client, again)
    return await _show(request, Form(values))


async def _values_of(client: Client, run_id: str) -> dict[str, str]:
    """Return the fields of a form that runs an earlier run's workflow with its input again."""
    run = await client.run(run_id)
    text = json_text(await client.input(run_id))
    # A large one is not edited here: it is read again when the form is sent.
    large = len(text) > MAX_EDITED
    return {
        "again": run["run_id"],
        # The version of that run, not the present one.
        "workflow": "",
        "input": "" if large else text,
        "large": "yes" if large else "",
        "project": run["project"],
        "priority": str(run["priority"]),
        "start": run["start"] or "",
    }


async def submit(request: Request) -> Response:
    """Create the order, or show the form again with what is wrong."""
    sent: Form = request.scope["form"]
    client = app_context(request).client
    try:
        fields = _order(sent)
        if again := sent.get("again"):
            if not fields["workflow"]:
                fields |= {"workflow": None, "plan": (await client.run(again))["plan"]}
            if sent.get("large") and not sent.get("input"):
                fields["input"] = await client.input(again)
        order = await client.submit(**fields)
    except msgspec.ValidationError as error:
        return await _show(request, sent, problem=describe_mismatch(error, RunOptions))
    except (ValueError, ControlError) as error:
        return await _show(request, sent, problem=str(error))
    current_session(request).flash("Created.")
    return redirect_to(f"/orders/{order['order_id']}")


def _order(sent: Form) -> dict[str, Any]:
    """Read the form. Raises :class:`ValueError` and ``ValidationError``."""
    return {
        "order_id": sent.get("order_id") or uuid.uuid4().hex,
        "workflow": sent.get("workflow", ""),
        "project": sent.get("project") or "default",
        "priority": _whole(sent, "priority") or 0,
        "input": _input(sent.get("input", "")),
        "options": msgspec.convert(
            {
                "start": sent.get("start", ""),
                "timeout_s": _whole(sent, "timeout_s"),
                "memory_mb": _whole(sent, "memory_mb"),
            },
            RunOptions,
        ),
    }


def _input(text: str) -> dict[str, Any]:
    try:
        value = parse(text or "{}", "the input")
    except LoadError as error:
        raise ValueError(str(error)) from error
    if not isinstance(value, dict):
        raise ValueError('the input: expected a JSON object, such as {"data": {}}')
    return value


def _whole(sent: Form, name: str) -> int | None:
    text = sent.get(name, "").strip()
    if not text:
        return None
    try:
        return int(text)
    except ValueError as error:
        raise ValueError(f"{name}: expected a whole number, found '{text}'") from error


async def _show(request: Request, values: Form, *, problem: str = "") -> Response:
    client = app_context(request).client
    again = await client.run(values["again"]) if values.get("again") else None
    return render_template(
        request,
        "launch.html",
        400 if problem else 200,
        values=values,
        workflows=await client.workflows(),
        again=again,
        problem=problem,
    )
