"""Actions of forms. SecurityMiddleware has checked that a page of this dashboard sent the form."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from worker.core.status import Status
from worker.fleet.client import ControlError
from worker.view.dashboard.context import app_context, current_session, redirect_to, render_template
from worker.view.dashboard.sessions import TooManyGuessesError


async def home(request: Request) -> Response:
    """Show the overview. Without a session, show the login page or take the token from the URL."""
    if token := request.query_params.get("token"):
        return await _open_session(request, token)
    if request.scope["session"] is None:
        return render_template(request, "login.html", wrong_token=False)
    from worker.view.dashboard.pages import overview

    return await overview(request)


async def login(request: Request) -> Response:
    """Open a session with the token of the login form."""
    return await _open_session(request, request.scope["form"].get("token", "").strip())


async def _open_session(request: Request, token: str) -> Response:
    # The redirect removes the token from the address: it must not stay in the browser's history.
    context = app_context(request)
    try:
        cookie = await context.sessions.open(token)
    except TooManyGuessesError:
        return Response("Too many wrong tokens. Try again later.\n", 429)
    if cookie is None:
        return render_template(request, "login.html", 403, wrong_token=True)
    response = redirect_to("/")
    response.set_cookie(context.cookie_name, cookie, httponly=True, samesite="strict", path="/")
    return response


async def logout(request: Request) -> Response:
    """Close the session."""
    context = app_context(request)
    context.sessions.close(request.cookies[context.cookie_name])
    response = redirect_to("/")
    response.delete_cookie(context.cookie_name, httponly=True, samesite="strict", path="/")
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
    """Retry an order, from the start or from a step, and show the new run."""
    run_id = request.path_params["id"]
    step = request.scope["form"].get("step") or None
    session = current_session(request)
    try:
        order = await app_context(request).client.retry(run_id, from_step=step)
    except ControlError as error:
        session.flash(f"Not retried: {error}", is_error=True)
        return redirect_to(f"/runs/{run_id}")
    session.flash(f"Retried from '{step}'." if step else "Retried from the start.")
    return redirect_to(f"/runs/{order['last_run']}")
