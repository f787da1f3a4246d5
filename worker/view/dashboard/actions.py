"""Actions of forms. SecurityMiddleware has checked that a page of this dashboard sent the form."""

from __future__ import annotations

import uuid

from starlette.requests import Request
from starlette.responses import Response

from worker.core.status import STATUSES, Status
from worker.fleet.control_errors import ControlError
from worker.view.dashboard.context import app_context, current_session, redirect_to, render_template
from worker.view.dashboard.pages import overview
from worker.view.dashboard.security import local_path
from worker.view.dashboard.sessions import TooManyGuessesError

_RETRIES = uuid.UUID("5f6ccf51-2f0c-4c0e-9d0b-6c1a5d6e0b11")


async def home(request: Request) -> Response:
    """Show the overview, or the login form without a session."""
    if request.scope["session"] is None:
        return _login_form(request)
    return await overview(request)


async def login(request: Request) -> Response:
    """Show the login form, or open a session with the token of the form or of the address."""
    if request.method == "POST":
        form = request.scope["form"]
        return await _open_session(request, form.get("token", "").strip(), form.get("next", ""))
    if token := request.query_params.get("token"):
        return await _open_session(request, token, request.scope["next"])
    if request.scope["session"] is not None:
        return redirect_to(request.scope["next"])
    return _login_form(request)


def _login_form(request: Request, status_code: int = 200) -> Response:
    wrong = status_code != 200
    # After POST, the destination is in the form.
    next_path = request.scope.get("next") or request.scope["form"].get("next", "")
    return render_template(
        request, "login.html", status_code, wrong_token=wrong, next=local_path(next_path)
    )


async def _open_session(request: Request, token: str, next_path: str) -> Response:
    # The redirect removes the token from the address.
    context = app_context(request)
    try:
        cookie = await context.sessions.open(token)
    except TooManyGuessesError:
        return Response("Too many wrong tokens. Try again later.\n", 429)
    if cookie is None:
        return _login_form(request, 403)
    response = redirect_to(local_path(next_path))
    # Not strict: links in mails and chats must reach their page. Actions are POST, and have a
    # secret of the session.
    response.set_cookie(
        context.cookie_name,
        cookie,
        httponly=True,
        samesite="lax",
        path="/",
        secure=_is_tls(request),
    )
    return response


def _is_tls(request: Request) -> bool:
    """Return whether the browser uses TLS: a proxy reports it, or the page that sent the form."""
    origin = request.headers.get("origin", "")
    return request.url.scheme == "https" or origin.startswith("https://")


async def logout(request: Request) -> Response:
    """Close the session, and with it its streams."""
    context = app_context(request)
    context.sessions.close(request.cookies[context.cookie_name])
    response = redirect_to("/")
    response.delete_cookie(context.cookie_name, httponly=True, samesite="lax", path="/")
    return response


async def cancel(request: Request) -> Response:
    """Cancel a run."""
    run_id = request.path_params["id"]
    session = current_session(request)
    # A running run is cancelled later, when its worker confirms it.
    try:
        state = await app_context(request).client.cancel(run_id)
        is_cancelled = state["status"] == Status.CANCELLED
        session.flash("Cancelled." if is_cancelled else "Cancellation requested.")
    except ControlError as error:
        session.flash(f"Not cancelled: {error}", is_error=True)
    return redirect_to(f"/runs/{run_id}")


async def retry(request: Request) -> Response:
    """Retry the newest run of an order, from the start or from a step, and show the new run."""
    client = app_context(request).client
    session = current_session(request)
    run = await client.run(request.path_params["id"])
    order = await client.order(run["order_id"])
    step = request.scope["form"].get("step") or None
    # The page was older than the newest run: whoever sent it did not know of that run.
    if order["last_run"] != run["run_id"]:
        final = STATUSES[Status(order["status"])].final
        return render_template(request, "stale.html", 409, run=run, order=order, final=final)
    try:
        order = await client.retry(run["run_id"], from_step=step, run_id=retry_id(run["run_id"]))
        retried = await client.run(order["last_run"])
    except ControlError as error:
        session.flash(f"Not retried: {error}", is_error=True)
        return redirect_to(f"/runs/{run['run_id']}")
    start = retried["start"]
    session.flash(f"Retried from '{start}'." if start else "Retried from the start.")
    return redirect_to(f"/runs/{retried['run_id']}")


async def erase(request: Request) -> Response:
    """Erase the states and logs of an order."""
    order_id = request.path_params["id"]
    session = current_session(request)
    try:
        await app_context(request).client.erase(order_id)
        session.flash("Erased: the states and logs of the order are deleted.")
    except ControlError as error:
        session.flash(f"Not erased: {error}", is_error=True)
    return redirect_to(f"/orders/{order_id}")


def retry_id(run_id: str) -> str:
    """Derive the id of the run that follows a run: several requests at once make one run."""
    return uuid.uuid5(_RETRIES, run_id).hex
