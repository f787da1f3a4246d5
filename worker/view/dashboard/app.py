"""ASGI application of the dashboard."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from worker.fleet.client import Client
from worker.fleet.control_errors import ControlError, NoAnswer
from worker.view.dashboard import actions, launch, log_pages, order_list, pages, trigger_pages
from worker.view.dashboard.assets import StaticFiles
from worker.view.dashboard.context import AppContext, render_template
from worker.view.dashboard.hosts import AllowedHosts
from worker.view.dashboard.hub import Hub
from worker.view.dashboard.run_graph import GraphRenderer
from worker.view.dashboard.security import LAUNCH, LOGIN, SecurityMiddleware, cookie_name
from worker.view.dashboard.sessions import SessionStore
from worker.view.dashboard.stream import live
from worker.view.dashboard.templating import create_environment

_TITLES = {404: "Not found", 503: "No response"}


# Actions are POST only: a link or an image on another page must not trigger one.
def _routes() -> list[Route]:
    get, post = ["GET"], ["POST"]
    return [
        Route("/", actions.home, methods=get),
        Route(LOGIN, actions.login, methods=[*get, *post]),
        Route("/logout", actions.logout, methods=post),
        Route("/orders", order_list.orders, methods=get),
        Route("/orders", order_list.change_orders, methods=post),
        Route(LAUNCH, launch.form, methods=get),
        Route(LAUNCH, launch.submit, methods=post),
        Route("/orders/{id}", pages.order, methods=get),
        Route("/orders/{id}/erase", actions.erase, methods=post),
        Route("/runs/{id}", pages.run, methods=get),
        Route("/runs/{id}/log", log_pages.log, methods=get),
        Route("/runs/{id}/log.txt", log_pages.download_log, methods=get),
        Route("/runs/{id}/clips/{seq:int}", pages.clip, methods=get),
        Route("/runs/{id}/clips/{seq:int}.json", pages.download_clip, methods=get),
        Route("/runs/{id}/cancel", actions.cancel, methods=post),
        Route("/runs/{id}/retry", actions.retry, methods=post),
        Route("/triggers", trigger_pages.triggers, methods=get),
        Route("/triggers", trigger_pages.change_pause, methods=post),
        Route("/workers", pages.workers, methods=get),
        Route("/alerts", pages.alerts, methods=get),
        Route("/live", live, methods=get),
        Route("/assets/{name}", StaticFiles().get, methods=get),
    ]


def application(
    client: Client,
    hub: Hub,
    renderer: GraphRenderer,
    *,
    sessions: SessionStore,
    hosts: AllowedHosts,
    title: str = "",
) -> ASGIApp:
    """Build the application. The caller runs the hub, and closes client and renderer."""
    app = Starlette(
        routes=_routes(),
        exception_handlers={
            ControlError: _control_error,
            NoAnswer: _no_answer,
            HTTPException: _http_error,
        },
    )
    app.state.context = AppContext(
        client=client,
        hub=hub,
        sessions=sessions,
        renderer=renderer,
        templates=create_environment(),
        cookie_name=cookie_name(hosts.port),
        title=title,
    )
    return SecurityMiddleware(app, hosts=hosts, sessions=sessions)


async def _control_error(request: Request, error: Exception) -> Response:
    return _problem_page(request, 404, str(error))


async def _no_answer(request: Request, error: Exception) -> Response:
    return _problem_page(request, 503, str(error))


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _problem_page(request, error.status_code, error.detail)


def _problem_page(request: Request, code: int, text: str) -> Response:
    sentence = f"{text[:1].upper()}{text[1:].rstrip('.')}."
    heading = _TITLES.get(code, "Not possible")
    return render_template(request, "problem.html", code, heading=heading, text=sentence)
