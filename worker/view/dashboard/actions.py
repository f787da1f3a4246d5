"""The deeds: what a page can have done. The gate has made sure that a page of ours asks for it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from worker.core.status import Status
from worker.fleet.client import ControlError
from worker.view.dashboard.context import parts_of, sent_to, session_of, shown
from worker.view.dashboard.sessions import TooManyError


async def home(request: Request) -> Response:
    """The overview; without a session what asks for the token, or takes it from the URL."""
    if token := request.query_params.get("token"):
        return await _enter(request, token)
    if request.scope["session"] is None:
        return shown(request, "login.html", wrong_token=False)
    from worker.view.dashboard.pages import overview

    return await overview(request)


async def login(request: Request) -> Response:
    """A token that was typed in."""
    return await _enter(request, request.scope["form"].get("token", "").strip())


async def _enter(request: Request, token: str) -> Response:
    """A session for whoever has the token; the answer's address has no token in it."""
    parts = parts_of(request)
    try:
        cookie = await parts.door.enter(token)
    except TooManyError:
        return Response("Too many wrong tokens. Try again in a while.\n", 429)
    if cookie is None:
        return shown(request, "login.html", 403, wrong_token=True)
    answer = sent_to("/")
    answer.set_cookie(parts.cookie, cookie, httponly=True, samesite="strict", path="/")
    return answer


async def logout(request: Request) -> Response:
    """The end of a session."""
    parts = parts_of(request)
    parts.door.leave(request.cookies[parts.cookie])
    answer = sent_to("/")
    answer.delete_cookie(parts.cookie, httponly=True, samesite="strict", path="/")
    return answer


async def cancel(request: Request) -> Response:
    """Cancel a run."""
    run_id = request.path_params["id"]
    session = session_of(request)
    try:
        state = await parts_of(request).client.cancel(run_id)
        over = state["status"] == Status.CANCELLED
        session.tell("Cancelled." if over else "Its worker was told to stop.")
    except ControlError as error:
        session.tell(f"Not cancelled: {error}", wrong=True)
    return sent_to(f"/runs/{run_id}")


async def retry(request: Request) -> Response:
    """Run an order again, from the start or from a step; shows the new run."""
    run_id = request.path_params["id"]
    step = request.scope["form"].get("step") or None
    session = session_of(request)
    try:
        order = await parts_of(request).client.retry(run_id, from_step=step)
    except ControlError as error:
        session.tell(f"Not run again: {error}", wrong=True)
        return sent_to(f"/runs/{run_id}")
    session.tell(f"Run again, from '{step}'." if step else "Run again, from the start.")
    return sent_to(f"/runs/{order['last_run']}")
