"""HTTP requests and replies, and their JSON in host calls, recordings and case files."""

from __future__ import annotations

import base64
import codecs
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct, field

from worker.util.json import dumps

MAX_TIMEOUT_S = 300.0
MAX_REDIRECTS = 20
# A multiple of three, so that pieces in base64 have no padding but the last.
_PIECE_BYTES = 3 * 64 * 1024

Pairs = tuple[tuple[str, str], ...]


class HttpRequest(Struct, frozen=True, kw_only=True):
    """An HTTP request; ``redirects`` is the number of redirects to follow."""

    method: str
    url: str
    headers: Pairs = ()
    body: bytes = b""
    timeout_s: float = MAX_TIMEOUT_S
    redirects: int = 0


class HttpReply(Struct, frozen=True, kw_only=True):
    """A response, or an ``error`` (``{name, message, code}``) in its place."""

    status: int = 0
    reason: str = ""
    url: str = ""
    headers: Pairs = ()
    body: bytes = b""
    error: Mapping[str, str] = field(default_factory=dict)


class Exchange(Struct, frozen=True, kw_only=True):
    """One request and its reply, with the run's time (microseconds) at which each was sent."""

    step: str
    execution: int
    sent_us: int
    arrived_us: int
    request: HttpRequest
    reply: HttpReply


# The library that sends requests raises a TypeError for other methods.
_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)


class ExchangeError(ValueError):
    """Text that is not a valid request or reply."""


def request_of(text: str) -> HttpRequest:
    """Parse an adaptor's request (JSON text). Raises :class:`ExchangeError`."""
    try:
        fields = json.loads(text)
        return HttpRequest(
            method=_method_of(str(fields["method"])),
            url=str(fields["url"]),
            headers=_pairs(fields.get("headers") or ()),
            body=body_of(fields),
            timeout_s=min(MAX_TIMEOUT_S, float(fields.get("timeout") or MAX_TIMEOUT_S * 1e3) / 1e3),
            redirects=min(MAX_REDIRECTS, int(fields.get("redirects") or 0)),
        )
    except _MALFORMED as error:
        raise ExchangeError(f"not a request: {error}") from error


def _method_of(text: str) -> str:
    if _METHOD.fullmatch(text) is None:
        raise ExchangeError(f"invalid method {text[:20]!r}")
    return text.upper()


def request_fields(request: HttpRequest) -> dict[str, Any]:
    """Convert a request to the JSON fields of a recording."""
    return {
        "method": request.method,
        "url": request.url,
        "headers": [list(pair) for pair in request.headers],
        **body_fields(request.body),
        "redirects": request.redirects,
    }


def reply_of(fields: Mapping[str, Any]) -> HttpReply:
    """Parse the JSON fields of a recording or script. Raises :class:`ExchangeError`."""
    try:
        if error := fields.get("error"):
            return HttpReply(error={str(name): str(value) for name, value in error.items()})
        return HttpReply(
            status=int(fields["status"]),
            reason=str(fields.get("reason", "")),
            url=str(fields.get("url", "")),
            headers=_pairs(fields.get("headers") or ()),
            body=body_of(fields),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ExchangeError(f"not a reply: {error}") from error


def reply_fields(reply: HttpReply) -> dict[str, Any]:
    """Convert a reply to the JSON fields of adaptors and recordings."""
    if reply.error:
        return {"error": dict(reply.error)}
    return {
        "status": reply.status,
        "reason": reply.reason,
        "url": reply.url,
        "headers": [list(pair) for pair in reply.headers],
        **body_fields(reply.body),
    }


def reply_text(reply: HttpReply, count: Callable[[int], None] = lambda size_bytes: None) -> str:
    """Return the reply as JSON text. ``count`` receives the sizes of the pieces it is made of."""
    head = dumps(reply_fields(msgspec.structs.replace(reply, body=b"")))
    if reply.error or not reply.body:
        return head
    try:
        pieces = ['"text":"', *_counted(_text_pieces(reply.body), count)]
    except UnicodeDecodeError:
        pieces = ['"base64":"', *_counted(_base64_pieces(reply.body), count)]
    return "".join((head[:-1], ",", *pieces, '"}'))


def _counted(pieces: Iterator[str], count: Callable[[int], None]) -> Iterator[str]:
    for piece in pieces:
        # Once as a piece, and once in the text that they are joined to.
        count(2 * sys.getsizeof(piece))
        yield piece


# In pieces: one conversion of 50 MB would keep all other threads waiting for a tenth of a second.
def _text_pieces(body: bytes) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(body), _PIECE_BYTES):
        end = start + _PIECE_BYTES
        yield dumps(decoder.decode(body[start:end], final=end >= len(body)))[1:-1]


def _base64_pieces(body: bytes) -> Iterator[str]:
    for start in range(0, len(body), _PIECE_BYTES):
        yield base64.b64encode(body[start : start + _PIECE_BYTES]).decode()


def body_of(fields: Mapping[str, Any]) -> bytes:
    if "base64" in fields:
        return base64.b64decode(fields["base64"], validate=True)
    return str(fields.get("text", "")).encode("utf-8", "surrogatepass")


def body_fields(body: bytes) -> dict[str, str]:
    if not body:
        return {}
    # Text where possible, so that people can read and edit recordings.
    try:
        return {"text": body.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}


def _pairs(headers: Any) -> Pairs:
    return tuple((str(name), str(value)) for name, value in headers)
