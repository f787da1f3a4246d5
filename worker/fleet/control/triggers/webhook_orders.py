"""Responses to calls of webhooks. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from worker.core.status import Status
from worker.fleet.control.triggers.call_input import CallRefused
from worker.fleet.control.triggers.order_result import Fired, OrderResult
from worker.fleet.messaging.trigger_messages import WebhookTrigger
from worker.util.loopback import is_loopback

_NO_BODY = (204, 205, 304)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallResponse:
    """A response to a call."""

    code: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def failure(code: int, error: str, message: str, **ids: str | None) -> CallResponse:
    """Return an error as a response."""
    return _json(code, {"error": error, "message": message, **ids}, ids)


def refused(refusal: CallRefused) -> CallResponse:
    """Return the response to a call of which no order is made."""
    response = failure(refusal.code, refusal.error, refusal.message)
    return replace(response, headers={**response.headers, **refusal.headers})


def waits_for_run(trigger: WebhookTrigger, fired: Fired) -> bool:
    """Return True where the response comes after the run."""
    return trigger.reply == "after_completion" and bool(fired.order_id) and not fired.rejected


def timed_out(trigger: WebhookTrigger, fired: Fired) -> CallResponse:
    """Return the response to a call whose run takes longer than the trigger waits."""
    text = f"the run has not ended within {trigger.timeout_s:g} s"
    return failure(504, "timeout", text, work_order_id=fired.order_id, run_id=fired.run_id)


def accepted(fired: Fired) -> CallResponse:
    """Return the response to a call whose order was made, or why it was not."""
    ids = {"work_order_id": fired.order_id or None, "run_id": fired.run_id}
    if fired.rejected is not None:
        return failure(429, "too_many_requests", fired.rejected, **ids)
    if fired.failure == "disabled":
        return failure(403, "trigger_disabled", "the trigger is disabled")
    if fired.failure == "defect":
        # Its text is for the operator: it can hold anything.
        return failure(500, "defect", "the order could not be made")
    if fired.failure:
        return failure(422, fired.failure, fired.message)
    return _json(200, ids, ids)


def completed(trigger: WebhookTrigger, result: OrderResult) -> CallResponse:
    """Return the response to a call whose run has ended."""
    ids = {"work_order_id": result.order_id, "run_id": result.run_id}
    state = _decoded(result.state)
    succeeded = result.status is Status.SUCCESS
    code = trigger.success_code if succeeded else trigger.error_code
    own = _own_response(state)
    if own is not None:
        return _own(own, code, ids)
    meta = {**ids, "state": result.status.value, "error_type": result.error_type}
    return _json(code, {"data": state, "meta": meta}, ids)


def _decoded(state: str | None) -> Any:
    return None if state is None else msgspec.json.decode(state)


def _own_response(state: Any) -> Mapping[str, Any] | None:
    """Return ``webhookResponse`` of a final state, or of the last leaf of one that has it."""
    if not isinstance(state, dict):
        return None
    leaves = [leaf for leaf in state.values() if isinstance(leaf, dict)]
    for holder in (state, *reversed(leaves)):
        own = holder.get("webhookResponse")
        if isinstance(own, dict):
            return own
    return None


def _own(own: Mapping[str, Any], code: int, ids: Mapping[str, str | None]) -> CallResponse:
    status = own.get("status")
    if isinstance(status, int) and not isinstance(status, bool) and 200 <= status <= 599:
        code = status
    body = own.get("body")
    if isinstance(body, str):
        # Never as HTML: what a run returns may be what somebody else has sent.
        content, kind = body.encode("utf-8", "replace"), "text/plain; charset=utf-8"
        return CallResponse(
            code=code,
            body=b"" if code in _NO_BODY else content,
            content_type=kind,
            headers=_id_headers(ids),
        )
    return _json(code, body, ids)


def _json(code: int, content: Any, ids: Mapping[str, str | None]) -> CallResponse:
    body = b"" if code in _NO_BODY else msgspec.json.encode(content)
    return CallResponse(code=code, body=body, headers=_id_headers(ids))


def _id_headers(ids: Mapping[str, str | None]) -> dict[str, str]:
    names = {"work_order_id": "x-work-order-id", "run_id": "x-run-id"}
    return {header: id for name, header in names.items() if (id := ids.get(name))}


def is_from_a_page(headers: Mapping[str, str], *, loopback: bool) -> bool:
    """Return True for a request that a page of the web may have sent, through a browser here.

    It could be sent by any page that somebody visits, also under a name of its own for 127.0.0.1.
    """
    site = headers.get("sec-fetch-site")
    # Older browsers have no such header.
    _, _, origin = headers.get("origin", "").rpartition("//")
    if site is None and origin and origin != headers.get("host", ""):
        return True
    if site not in (None, "none", "same-origin"):
        return True
    return loopback and not _names_this_machine(headers.get("host", ""))


def _names_this_machine(host: str) -> bool:
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return is_loopback(name)
