"""Shared objects of the pages, and rendering of templates."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from worker.fleet.client import Client
from worker.view.dashboard.hub import Hub
from worker.view.dashboard.run_graph import GraphRenderer
from worker.view.dashboard.sessions import Session, SessionStore

# Sent by an open page that fetches its own new content.
LIVE_HEADER = "x-live"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppContext:
    """Objects that all pages share."""

    client: Client
    hub: Hub
    sessions: SessionStore
    renderer: GraphRenderer
    templates: jinja2.Environment
    cookie_name: str
    title: str


def app_context(request: Request) -> AppContext:
    context: AppContext = request.app.state.context
    return context


def current_session(request: Request) -> Session:
    session: Session = request.scope["session"]
    return session


def seen_rows(request: Request) -> str:
    """Return the rows that an open page has, as :attr:`Rows.seen`; empty for a whole page."""
    kind, _, seen = request.headers.get(LIVE_HEADER, "").partition(" ")
    return seen if kind == "changed" else ""


def is_live_request(request: Request) -> bool:
    """Return whether an open page requests its own new content."""
    return LIVE_HEADER in request.headers


def render_template(
    request: Request, template: str, status_code: int = 200, **context: Any
) -> Response:
    """Render a page."""
    # The flash message is shown once, on a page that a person opens: a live update of another tab
    # must not consume it.
    session: Session | None = request.scope.get("session")
    notice, is_error = "", False
    if session and not is_live_request(request):
        notice, is_error = session.take_flash()
    app = app_context(request)
    text = app.templates.get_template(template).render(
        csrf=session.csrf if session else "",
        signed_in=session is not None,
        read_only=session is not None and session.read_only,
        notice=notice,
        is_error=is_error,
        path=request.url.path,
        fleet=app.title,
        **context,
    )
    return HTMLResponse(text, status_code)


def attachment(name: str) -> dict[str, str]:
    """Return the header of a file to save. Names of runs come from clients: only ASCII stays."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:150]
    return {"content-disposition": f'attachment; filename="{safe}"'}


def redirect_to(path: str) -> Response:
    """Redirect to a page after an action."""
    return RedirectResponse(path, status_code=303)
