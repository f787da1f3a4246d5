"""Orders from calls of webhooks: their input, and the responses to them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from worker.core.status import Status
from worker.fleet.control.triggers.firing import Fired
from worker.fleet.control.triggers.results import OrderResult
from worker.fleet.control.triggers.secrecy import without_secrets
from worker.fleet.control.triggers.topic_orders import MAX_LEVELS
from worker.fleet.messaging.trigger_messages import WebhookTrigger
from worker.util.nesting import nests_deeper

MAX_FIELDS = 1000
_NO_BODY = (204, 205, 304)


class CallRefused(Exception):
    """A call of which no order is made: the status code and the name of the error."""

    def __init__(self, code: int, error: str, message: str) -> None:
        super().__init__(message)
        self.code, self.error, self.message = code, error, message


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call of a webhook; header names are in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CallResponse:
    """A response to a call."""

    code: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def input_of(call: Call, secret_headers: frozenset[str]) -> bytes:
    """Return the input of an order as JSON. Raises :class:`CallRefused`."""
    data = _data(call)
    request = {
        "method": call.method,
        "path": [part for part in call.path.split("/") if part],
        "query_params": _fields(call.query),
        "headers": without_secrets(call.headers, secret_headers),
    }
    try:
        encoded = msgspec.json.encode(request)
    except UnicodeEncodeError as error:
        raise CallRefused(400, "bad_request", "the query is no UTF-8") from error
    return b'{"data":%b,"request":%b}' % (data, encoded)


def _data(call: Call) -> bytes:
    """Return the body as JSON, as OpenFn's web server decodes it."""
    kind = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not call.body:
        return b"{}"
    if kind == "application/x-www-form-urlencoded":
        return msgspec.json.encode(_fields(call.body.decode("utf-8", "replace")))
    if kind != "application/json" and not kind.endswith("+json"):
        raise CallRefused(
            415, "unsupported_media_type", "expected application/json, or a form as urlencoded"
        )
    if nests_deeper(call.body, MAX_LEVELS):
        raise CallRefused(400, "bad_request", f"the body has more than {MAX_LEVELS} levels")
    try:
        call.body.decode()
        value = msgspec.json.decode(call.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CallRefused(400, "bad_request", f"the body is no JSON: {error}") from error
    # OpenFn's parser puts what is no object under this key.
    return call.body if isinstance(value, dict) else b'{"_json":%b}' % call.body


def _fields(text: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError as error:
        raise CallRefused(400, "bad_request", f"more than {MAX_FIELDS} fields") from error


# --- responses ------------------------------------------------------------------------------------


def failure(code: int, error: str, message: str, **ids: str | None) -> CallResponse:
    """Return an error as a response."""
    return _json(code, {"error": error, "message": message, **ids}, ids)


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
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return True
    return loopback and not _names_this_machine(headers.get("host", ""))


def _names_this_machine(host: str) -> bool:
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return name.strip("[]").lower() in ("localhost", "::1") or name.startswith("127.")
