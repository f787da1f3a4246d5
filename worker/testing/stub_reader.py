"""Reader of the ``http`` section of a case: stubbed replies to the requests of adaptors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from worker.adaptors.http.exchange import ExchangeError, HttpReply, reply_of
from worker.adaptors.http.stub_host import Stub
from worker.util.json import dumps
from worker.workflow.documents.cursor import Cursor

STUB_KEYS = ("step", "request", "reply", "replies", "delay", "times")
REQUEST_KEYS = ("method", "url", "body")
REPLY_KEYS = ("status", "reason", "url", "headers", "json", "text", "base64", "error")
ERROR_KEYS = ("name", "message", "code")


def read_stub(node: Cursor) -> Stub:
    """Parse one stub. Fails with line and column on a mistake."""
    node.mapping(*STUB_KEYS)
    request = node.at("request")
    if request.value is not None:
        request.mapping(*REQUEST_KEYS)
    return Stub(
        step=node.at("step").name(""),
        method=_at(request, "method").name("").upper(),
        url=_at(request, "url").text("*"),
        body=_at(request, "body").value,
        replies=tuple(_reply(reply) for reply in _replies(node)),
        delay_s=0.0 if node.at("delay").value is None else float(node.at("delay").amount()),
        times=None if node.at("times").value is None else int(node.at("times").amount()),
    )


def _at(node: Cursor, key: str) -> Cursor:
    # A stub without `request` matches every request, so an absent mapping has absent keys.
    return node if node.value is None else node.at(key)


def _replies(node: Cursor) -> Iterator[Cursor]:
    if node.has("reply") is node.has("replies"):
        node.fail("expected either 'reply' or 'replies'")
    if node.has("reply"):
        yield node.at("reply")
    else:
        replies = list(node.at("replies").elements())
        if not replies:
            node.at("replies").fail("expected at least one reply")
        yield from replies


def _reply(node: Cursor) -> HttpReply:
    node.mapping(*REPLY_KEYS)
    fields = node.data()
    if node.has("error"):
        error = node.at("error").mapping(*ERROR_KEYS).data()
        return reply_of({"error": {"name": "Error", "message": "no reply", **error}})
    headers = fields.get("headers") or {}
    # A list of pairs is allowed beside a mapping, as a reply can repeat a header (Set-Cookie).
    pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
    if "json" in fields:
        fields = {**fields, "text": dumps(fields["json"])}
        pairs += _json_content_type(pairs)
    try:
        return reply_of({"status": 200, **fields, "headers": pairs})
    except ExchangeError as error:
        node.fail(str(error))


def _json_content_type(headers: Sequence[Sequence[Any]]) -> list[tuple[str, str]]:
    # Adaptors parse a body only where its content type is JSON; a stub's own type is kept.
    if any(str(name).lower() == "content-type" for name, _ in headers):
        return []
    return [("content-type", "application/json")]
