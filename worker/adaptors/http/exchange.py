"""HTTP requests and replies, as adaptors make them and as recordings and scripts hold them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.util.json import dumps

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """``timeout_s`` is what the adaptor waits at most, ``redirects`` how many are followed."""

    method: str
    url: str
    headers: Pairs = ()
    body: bytes = b""
    timeout_s: float = 300.0
    redirects: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpReply:
    """A response, or the ``error`` that there was instead: ``{name, message, code}``."""

    status: int = 0
    reason: str = ""
    url: str = ""
    headers: Pairs = ()
    body: bytes = b""
    error: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request and its reply. ``asked`` and ``arrived`` are the run's time in microseconds."""

    step: str
    execution: int
    asked: int
    arrived: int
    request: HttpRequest
    reply: HttpReply


class ExchangeError(ValueError):
    """The text is no request or no reply."""


def request_of(text: str) -> HttpRequest:
    """What an adaptor asked for. Raises :class:`ExchangeError`."""
    try:
        fields = json.loads(text)
        return HttpRequest(
            method=str(fields["method"]).upper(),
            url=str(fields["url"]),
            headers=_pairs(fields.get("headers") or ()),
            body=body_of(fields),
            timeout_s=min(300.0, float(fields.get("timeout") or 300_000) / 1000),
            redirects=min(20, int(fields.get("redirects") or 0)),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ExchangeError(f"no request: {error}") from error


def request_fields(request: HttpRequest) -> dict[str, Any]:
    """A request as a recording holds it."""
    return {
        "method": request.method,
        "url": request.url,
        "headers": [list(pair) for pair in request.headers],
        **body_fields(request.body),
        "redirects": request.redirects,
    }


def reply_of(fields: Mapping[str, Any]) -> HttpReply:
    """A reply as a recording or a script holds it. Raises :class:`ExchangeError`."""
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
        raise ExchangeError(f"no reply: {error}") from error


def reply_fields(reply: HttpReply) -> dict[str, Any]:
    """A reply as an adaptor, and a recording, gets it."""
    if reply.error:
        return {"error": dict(reply.error)}
    return {
        "status": reply.status,
        "reason": reply.reason,
        "url": reply.url,
        "headers": [list(pair) for pair in reply.headers],
        **body_fields(reply.body),
    }


def reply_text(reply: HttpReply) -> str:
    return dumps(reply_fields(reply))


def body_of(fields: Mapping[str, Any]) -> bytes:
    if "base64" in fields:
        return base64.b64decode(fields["base64"], validate=True)
    return str(fields.get("text", "")).encode("utf-8", "surrogatepass")


def body_fields(body: bytes) -> dict[str, str]:
    """Text where it is text, so that people can read it."""
    if not body:
        return {}
    try:
        return {"text": body.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}


def _pairs(headers: Any) -> Pairs:
    return tuple((str(name), str(value)) for name, value in headers)
