"""Page that creates an order."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
from starlette.datastructures import ImmutableMultiDict
from starlette.requests import Request
from starlette.responses import Response

from worker.fleet.client import ControlError
from worker.fleet.messaging.messages import RunOptions
from worker.view.dashboard.context import (
    app_context,
    current_session,
    redirect_to,
    render_template,
)

Form = ImmutableMultiDict[str, str]


async def form(request: Request) -> Response:
    """Show an empty form, or one with the workflow of the address."""
    # The id is in the form: a form that is sent twice creates one order.
    values = {
        "order_id": uuid.uuid4().hex,
        "workflow": request.query_params.get("workflow", ""),
        "input": "{}",
    }
    return await _show(request, Form(values))


async def submit(request: Request) -> Response:
    """Create the order, or show the form again with what is wrong."""
    sent: Form = request.scope["form"]
    try:
        order = await app_context(request).client.submit(**_order(sent))
    except (ValueError, msgspec.ValidationError, ControlError) as error:
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
        value = msgspec.json.decode(text or "{}")
    except msgspec.DecodeError as error:
        raise ValueError(f"the input is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError('the input must be a JSON object, as in {"data": {}}')
    return value


def _whole(sent: Form, name: str) -> int | None:
    text = sent.get(name, "").strip()
    if not text:
        return None
    try:
        return int(text)
    except ValueError as error:
        raise ValueError(f"{name} must be a whole number, not '{text}'") from error


async def _show(request: Request, values: Form, *, problem: str = "") -> Response:
    workflows = await app_context(request).client.workflows()
    return render_template(
        request,
        "launch.html",
        400 if problem else 200,
        values=values,
        workflows=workflows,
        problem=problem,
    )
