"""Inputs of orders from calls of webhooks. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

import msgspec

from worker.fleet.control.triggers.message_input import MAX_LEVELS
from worker.fleet.control.triggers.secrecy import without_secrets
from worker.fleet.messaging.trigger_messages import WebhookTrigger
from worker.util.nesting import nests_deeper

MAX_FIELDS = 1000


class CallRefused(Exception):
    """A call of which no order is made: the status code and the name of the error."""

    def __init__(
        self, code: int, error: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.code, self.error, self.message = code, error, message
        self.headers = headers or {}


def no_webhook() -> CallRefused:
    """Return the refusal of a call whose path is that of no webhook, or of a disabled one."""
    return CallRefused(404, "not_found", "Webhook not found")


def body_limit_bytes(trigger: WebhookTrigger) -> int:
    return int(trigger.max_mb * 2**20)


def too_large(limit_bytes: int) -> CallRefused:
    """Return the refusal of a call whose body exceeds the limit."""
    return CallRefused(413, "too_large", f"the body has more than {limit_bytes:,} bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call of a webhook; header names are in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


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
        raise CallRefused(400, "bad_request", "the query is not valid UTF-8") from error
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
        raise CallRefused(400, "bad_request", f"the body is not valid JSON: {error}") from error
    # OpenFn's parser puts what is no object under this key.
    return call.body if isinstance(value, dict) else b'{"_json":%b}' % call.body


def _fields(text: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError as error:
        raise CallRefused(400, "bad_request", f"more than {MAX_FIELDS} fields") from error
