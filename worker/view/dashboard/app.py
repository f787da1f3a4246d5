"""The dashboard as an ASGI application."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from worker.fleet.client import Client, ControlError, NoAnswer
from worker.view.dashboard import actions as deeds
from worker.view.dashboard import pages
from worker.view.dashboard.assets import StaticFiles
from worker.view.dashboard.context import AppContext, shown
from worker.view.dashboard.hosts import Hosts
from worker.view.dashboard.hub import Hub
from worker.view.dashboard.run_graph import Pictures
from worker.view.dashboard.security import LOGIN, SecurityMiddleware, cookie_name
from worker.view.dashboard.sessions import SessionStore
from worker.view.dashboard.stream import live
from worker.view.dashboard.templating import environment

_TITLES = {404: "Not found", 503: "No answer"}


def _routes() -> list[Route]:
    get, post = ["GET"], ["POST"]
    return [
        Route("/", deeds.home, methods=get),
        Route(LOGIN, deeds.login, methods=post),
        Route("/logout", deeds.logout, methods=post),
        Route("/orders", pages.orders, methods=get),
        Route("/orders/{id}", pages.order, methods=get),
        Route("/runs/{id}", pages.run, methods=get),
        Route("/runs/{id}/clips/{seq:int}", pages.clip, methods=get),
        Route("/runs/{id}/cancel", deeds.cancel, methods=post),
        Route("/runs/{id}/retry", deeds.retry, methods=post),
        Route("/workers", pages.workers, methods=get),
        Route("/alerts", pages.alerts, methods=get),
        Route("/live", live, methods=get),
        Route("/assets/{name}", StaticFiles().get, methods=get),
    ]


def application(
    client: Client, hub: Hub, pictures: Pictures, *, token: str, hosts: Hosts, title: str = ""
) -> ASGIApp:
    """The whole of it, behind its gate. Whoever starts it runs the hub, and closes the rest."""
    door = SessionStore(token)
    app = Starlette(
        routes=_routes(),
        exception_handlers={
            ControlError: _refused,
            NoAnswer: _unanswered,
            HTTPException: _failed,
        },
    )
    app.state.parts = AppContext(
        client=client,
        hub=hub,
        door=door,
        pictures=pictures,
        templates=environment(),
        cookie=cookie_name(hosts.port),
        title=title,
    )
    return SecurityMiddleware(app, hosts=hosts, door=door)


async def _refused(request: Request, error: Exception) -> Response:
    """The control plane knows no such order or run, or does not understand what is asked."""
    return _problem(request, 404, str(error))


async def _unanswered(request: Request, error: Exception) -> Response:
    return _problem(request, 503, str(error))


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _problem(request, error.status_code, error.detail)


def _problem(request: Request, code: int, text: str) -> Response:
    said = f"{text[:1].upper()}{text[1:]}"
    return shown(request, "problem.html", code, heading=_TITLES.get(code, "Refused"), text=said)
