"""The gate that every request passes, before anything looks at what it asks for.

It answers to its own name alone, lets nobody in without a session, and takes a deed (a POST) only
from a page of its own: the origin must be this server, and the form must have the session's secret.
Every answer carries the headers that keep a browser from running or loading anything else.
"""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.view.dashboard.hosts import Hosts
from worker.view.dashboard.sessions import Session, SessionStore, same

POLICY = "; ".join((
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self' data:",
    "frame-ancestors 'none'",
    "form-action 'self'",
    "base-uri 'none'",
))  # fmt: skip
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not stricter: without a referrer a browser tells no origin with its forms either.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
FORM_BYTES = 16 * 1024
LOGIN = "/login"
_OPEN = ("/assets/", LOGIN)


def cookie_name(port: int) -> str:
    """Cookies are not told apart by port, and there may be several dashboards."""
    return f"worker-dashboard-{port}"


class SecurityMiddleware:
    """An ASGI application around another."""

    def __init__(self, app: ASGIApp, *, hosts: Hosts, door: SessionStore) -> None:
        self._app = app
        self._hosts = hosts
        self._door = door
        self._cookie = cookie_name(hosts.port)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _with_headers(message["headers"])
            await send(message)

        request = Request(scope, receive)
        try:
            refusal = await self._refuse(request)
        except ClientDisconnect:
            return
        await (refusal or self._app)(scope, receive, dressed)

    async def _refuse(self, request: Request) -> Response | None:
        """The answer to a request that is not let in. What is let in has a session, or needs
        none, and its form is read."""
        host = request.headers.get("host", "")
        if not self._hosts.allows(host):
            return _plain(421, "This is not the address of this dashboard.")
        if request.method not in ("GET", "HEAD", "POST"):
            return _plain(405, "Only GET and POST are known here.")
        session = self._session(request)
        request.scope["session"] = session
        if request.method == "POST":
            return await self._refuse_deed(request, host, session)
        if session is None and not request.url.path.startswith(_OPEN):
            return self._sent_away(request)
        return None

    def _session(self, request: Request) -> Session | None:
        try:
            found = SimpleCookie(request.headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return None
        return None if found is None else self._door.session(found.value)

    def _sent_away(self, request: Request) -> Response | None:
        if request.url.path == "/":
            return None  # the page that asks for the token, or takes it from the URL
        if request.headers.get("sec-fetch-mode", "navigate") == "navigate":
            return Response(status_code=303, headers={"location": "/"})
        return _plain(401, "The session is over.")

    async def _refuse_deed(
        self, request: Request, host: str, session: Session | None
    ) -> Response | None:
        if not self._hosts.same_origin(request.headers.get("origin", ""), host):
            return _plain(403, "This was not sent by a page of this dashboard.")
        form = await _form(request)
        if form is None:
            return _plain(413, "This form is too large.")
        request.scope["form"] = form
        if request.url.path == LOGIN:
            return None
        if session is None:
            return _plain(401, "The session is over: reload the page.")
        if not same(form.get("csrf", ""), session.csrf):
            return _plain(403, "This form is not of your session: reload the page.")
        return None


async def _form(request: Request) -> dict[str, str] | None:
    """The fields of a form; ``None`` for one that is too large."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > FORM_BYTES:
            return None
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def _with_headers(given: Any) -> list[tuple[bytes, bytes]]:
    known = {name.lower() for name, _ in given}
    own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    return [*given, *((name, value) for name, value in own if name not in known)]


def _plain(code: int, text: str) -> Response:
    return PlainTextResponse(f"{text}\n", status_code=code)
