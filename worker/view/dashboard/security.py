"""Middleware that checks every request before it is handled.

It requires a known Host header (DNS rebinding) and a session. A POST must come from this origin and
contain the CSRF token of the session. Every response has the security headers.
"""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import ImmutableMultiDict
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.view.dashboard.hosts import AllowedHosts
from worker.view.dashboard.sessions import Session, SessionStore, secrets_equal

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
    # Not stricter: with no-referrer a browser sends "Origin: null" with forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
# Forms of the dashboard have a few short fields, but for the input of an order.
FORM_BYTES = 16 * 1024
LAUNCH_BYTES = 1024 * 1024
# A browser sends a form at once.
FORM_TIMEOUT_S = 20.0
LOGIN, LOGOUT, LAUNCH = "/login", "/logout", "/launch"
_PUBLIC_PATHS = ("/assets/", LOGIN)


def cookie_name(port: int) -> str:
    # Cookies are shared between ports, and several dashboards may run on one machine.
    return f"worker-dashboard-{port}"


class SecurityMiddleware:
    """ASGI middleware: checks requests, and adds security headers to responses."""

    def __init__(self, app: ASGIApp, *, hosts: AllowedHosts, sessions: SessionStore) -> None:
        self._app = app
        self._hosts = hosts
        self._sessions = sessions
        self._cookie = cookie_name(hosts.port)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _with_headers(message["headers"])
            await send(message)

        request = Request(scope, receive)
        try:
            refusal = await self._check(request)
        except ClientDisconnect:
            return
        await (refusal or self._app)(scope, receive, send_with_headers)

    async def _check(self, request: Request) -> Response | None:
        """Return the response to a request that is not allowed, else None.

        Set ``session``, ``next`` and ``form`` of the scope.
        """
        # The order matters: nothing of the request is trusted before its host is known.
        host = request.headers.get("host", "")
        if not self._hosts.allows(host):
            return _plain(421, "Unknown Host header for this dashboard.")
        if request.method not in ("GET", "HEAD", "POST"):
            return _plain(405, "Only GET, HEAD and POST are allowed.")
        session = self._session(request)
        request.scope["session"] = session
        if request.method == "POST":
            return await self._check_post(request, host, session)
        request.scope["next"] = destination(request)
        if "token" in request.query_params:
            return _take_token(request)
        # Assets and the login form are public: they contain nothing of the fleet.
        if session is None and not request.url.path.startswith(_PUBLIC_PATHS):
            return self._redirect_to_login(request)
        return None

    def _session(self, request: Request) -> Session | None:
        # The framework's lenient parser: other servers on this host set cookies too, of any form.
        cookie = request.cookies.get(self._cookie)
        return None if cookie is None else self._sessions.get(cookie)

    def _redirect_to_login(self, request: Request) -> Response | None:
        if request.url.path == "/":
            return None  # it shows the login form
        # A script cannot follow a redirect to the login page: it needs the status.
        if request.headers.get("sec-fetch-mode", "navigate") == "navigate":
            query = urlencode({"next": request.scope["next"]})
            return Response(status_code=303, headers={"location": f"{LOGIN}?{query}"})
        return _plain(401, "The session has ended.")

    async def _check_post(
        self, request: Request, host: str, session: Session | None
    ) -> Response | None:
        if not self._hosts.same_origin(request.headers.get("origin", ""), host):
            return _plain(403, "The form was not sent by a page of this dashboard.")
        path = request.url.path
        try:
            async with asyncio.timeout(FORM_TIMEOUT_S):
                form = await _form(request, LAUNCH_BYTES if path == LAUNCH else FORM_BYTES)
        except TimeoutError:
            return _plain(408, "The form did not arrive in time.")
        if form is None:
            return _plain(413, "The form is too large.")
        request.scope["form"] = form
        if path == LOGIN:
            return None
        if session is None:
            return _plain(401, "The session has ended: reload the page.")
        if not secrets_equal(form.get("csrf", ""), session.csrf):
            return _plain(403, "Wrong CSRF token: reload the page.")
        if session.read_only and path != LOGOUT:
            return _plain(403, "This session may only read.")
        return None


def destination(request: Request) -> str:
    """Return the path to show after signing in: the requested one, without its token."""
    if request.url.path == LOGIN:
        return local_path(request.query_params.get("next", ""))
    query = urlencode([pair for pair in request.query_params.multi_items() if pair[0] != "token"])
    return local_path(request.url.path + (f"?{query}" if query else ""))


def local_path(text: str) -> str:
    """Return a path of this server; the overview for anything else (open redirects)."""
    # Browsers take "\\" for "/", and remove tabs and line feeds: "/\t/evil.example" is a host.
    is_clean = "\\" not in text and text.isascii() and text.isprintable() and " " not in text
    return text if is_clean and text.startswith("/") and not text.startswith("//") else "/"


def _take_token(request: Request) -> Response | None:
    """Let the login page handle an address with a token, whatever page it is of."""
    # Images and frames of other pages must not make guesses.
    if request.headers.get("sec-fetch-dest", "document") != "document":
        return _plain(403, "An address with a token must be opened in a tab.")
    request.scope["path"] = LOGIN
    request.scope["raw_path"] = LOGIN.encode()
    return None


async def _form(request: Request, max_bytes: int) -> ImmutableMultiDict[str, str] | None:
    """Read the fields of a form; None for one that is too large."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > max_bytes:
            return None
    text = body.decode("utf-8", "replace")
    return ImmutableMultiDict(parse_qsl(text, keep_blank_values=True))


def _with_headers(headers: Any) -> list[tuple[bytes, bytes]]:
    known = {name.lower() for name, _ in headers}
    defaults = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    return [*headers, *((name, value) for name, value in defaults if name not in known)]


def _plain(code: int, text: str) -> Response:
    return PlainTextResponse(f"{text}\n", status_code=code)
