"""What the pages are made of, and how one is rendered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from worker.fleet.client import Client
from worker.view.dashboard.hub import Hub
from worker.view.dashboard.run_graph import Pictures
from worker.view.dashboard.sessions import Session, SessionStore

LIVE = "x-live"
"""The header of a request that a page makes for its own new content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppContext:
    """What all pages share."""

    client: Client
    hub: Hub
    door: SessionStore
    pictures: Pictures
    templates: jinja2.Environment
    cookie: str
    title: str


def parts_of(request: Request) -> AppContext:
    found: AppContext = request.app.state.parts
    return found


def session_of(request: Request) -> Session:
    found: Session = request.scope["session"]
    return found


def is_live(request: Request) -> bool:
    """Whether this is a page that asks for its own new content."""
    return LIVE in request.headers


def shown(request: Request, template: str, status_code: int = 200, **context: Any) -> Response:
    """A page. What is to be said once is said on a page that is opened, not on one that asks for
    its own new content."""
    session: Session | None = request.scope.get("session")
    said, wrong = session.told() if session and not is_live(request) else ("", False)
    parts = parts_of(request)
    text = parts.templates.get_template(template).render(
        csrf=session.csrf if session else "",
        signed_in=session is not None,
        said=said,
        wrong=wrong,
        path=request.url.path,
        fleet=parts.title,
        **context,
    )
    return HTMLResponse(text, status_code)


def sent_to(path: str) -> Response:
    """After a deed: the page to look at."""
    return RedirectResponse(path, status_code=303)
