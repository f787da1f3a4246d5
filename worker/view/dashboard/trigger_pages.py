"""Page of triggers: what is deployed, when it fires, dead letters, and pauses."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from worker.fleet.control_errors import ControlError
from worker.view.dashboard.context import app_context, current_session, redirect_to, render_template

NEWEST_LETTERS = 50
MAX_CONTENT = 400
_ADDRESSES = ("topic", "expression", "path")


async def triggers(request: Request) -> Response:
    """Show deployed workflows with their triggers, pauses, and the newest dead letters."""
    client = app_context(request).client
    deployments, pauses, letters = await asyncio.gather(
        client.deployments(), client.pauses(), client.dead_letters(limit=NEWEST_LETTERS)
    )
    return render_template(
        request,
        "triggers.html",
        workflows=[_workflow(deployment, pauses) for deployment in deployments],
        others=_others(deployments, pauses),
        letters=[{**letter, "text": _text(letter)} for letter in letters],
        most=NEWEST_LETTERS,
    )


def _workflow(
    deployment: Mapping[str, Any], pauses: Sequence[Mapping[str, Any]]
) -> Mapping[str, Any]:
    place = (deployment["name"], deployment["project"])
    covering = [pause for pause in pauses if _covers(pause, *place)]
    return {
        **deployment,
        "triggers": [{**each, "address": _address(each)} for each in deployment["triggers"]],
        "pauses": covering,
        "own": any(_place(pause) == place for pause in covering),
    }


def _place(pause: Mapping[str, Any]) -> tuple[str | None, str | None]:
    return pause["workflow"], pause["project"]


def _covers(pause: Mapping[str, Any], name: str, project: str) -> bool:
    return pause["workflow"] in (None, name) and pause["project"] in (None, project)


def _others(
    deployments: Iterable[Mapping[str, Any]], pauses: Iterable[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Select the pauses that are not of one deployed workflow, so that they can be ended too."""
    places = {(deployment["name"], deployment["project"]) for deployment in deployments}
    return [pause for pause in pauses if _place(pause) not in places]


def _address(trigger: Mapping[str, Any]) -> str:
    address = next((str(trigger[key]) for key in _ADDRESSES if key in trigger), "")
    return f"POST /i/{address}" if trigger["type"] == "webhook" else address


def _text(letter: Mapping[str, Any]) -> str:
    return base64.b64decode(letter["content"]).decode("utf-8", "replace")[:MAX_CONTENT]


async def change_pause(request: Request) -> Response:
    """Pause or resume a workflow or a project."""
    client, form = app_context(request).client, request.scope["form"]
    workflow, project = form.get("workflow") or None, form.get("project") or None
    session = current_session(request)
    resumes = form.get("action") == "resume"
    change = client.resume if resumes else client.pause
    try:
        await change(workflow, project=project)
        session.flash(f"{'Resumed' if resumes else 'Paused'} {workflow or f'project {project}'}.")
    except ControlError as error:
        session.flash(f"Not {'resumed' if resumes else 'paused'}: {error}", is_error=True)
    return redirect_to("/triggers")
