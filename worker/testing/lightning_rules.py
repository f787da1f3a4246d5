"""What Lightning accepts of a worker, and what it keeps of a run."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt

from worker.lightning.worker_tokens import WORKER_ISSUER

STATES = {
    "success": "success",
    "fail": "failed",
    "crash": "crashed",
    "cancel": "cancelled",
    "kill": "killed",
    "exception": "exception",
}
LEVELS = {"success", "always", "info", "warn", "error", "debug"}


class EventRefused(Exception):
    """The server refuses an event, with ``response``."""

    def __init__(self, response: Any) -> None:
        super().__init__(json.dumps(response))
        self.response = response


@dataclass(slots=True, kw_only=True)
class ServerRun:
    """Run as the server knows it. ``token`` replaces the one that a claim returns."""

    plan: dict[str, Any]
    save_dataclips: bool = True
    token: str = ""
    state: str = "available"
    joined: bool = False
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The payloads of each step, its end over its start, by step id."""
    logs: list[dict[str, Any]] = field(default_factory=list)
    events: list[tuple[str, Any]] = field(default_factory=list)
    """All events in the order in which they came, also those that were refused."""
    complete: dict[str, Any] | None = None
    """The payload of the ``run:complete`` that was accepted."""

    @property
    def lines(self) -> list[str]:
        """The texts that the jobs have logged."""
        return [log["message"][0] for log in self.logs if log["source"] == "JOB"]


def check_connection(path: str, secret: str) -> str | None:
    """Return why a connection is refused, or ``None``."""
    url = urlsplit(path)
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    if url.path != "/worker/websocket" or query.get("vsn") != "2.0.0":
        return f"expected /worker/websocket with vsn=2.0.0, not {url.path}"
    required = ["iat", "iss", "worker_id"]
    try:
        jwt.decode(
            query.get("token", ""), secret.encode(), ["HS256"],
            issuer=WORKER_ISSUER, options={"require": required},
        )  # fmt: skip
    except jwt.PyJWTError as error:
        return str(error)
    return None


def claim_problem(payload: Any) -> str | None:
    """Return why a claim crashes the server's channel, or ``None``."""
    for name in ("demand", "worker_name"):
        if name not in payload:
            return f"no function clause without {name}"
    return None if payload["demand"] > 0 else "the demand is not positive"


def handle_event(
    run: ServerRun,
    event: str,
    payload: Any,
    dataclips: dict[str, str],
    credentials: Mapping[str, Any],
) -> Any:
    """Apply an event to a run; return the response. Raises :class:`EventRefused`."""
    run.events.append((event, payload))
    match event:
        case "fetch:plan":
            return run.plan
        case "fetch:dataclip":
            return _dataclip(payload, dataclips)
        case "fetch:credential":
            if payload.get("id") not in credentials:
                raise _errors(id="Credential not found!")
            return credentials[payload["id"]]
    handler = _HANDLERS.get(event)
    if handler is None:
        raise EventRefused({"reason": f"there is no event {event}"})
    _check_timestamp(payload)
    return handler(run, payload, dataclips)


def _dataclip(payload: Any, dataclips: Mapping[str, str]) -> bytes:
    if payload.get("id") not in dataclips:
        raise EventRefused("not_found")
    return dataclips[payload["id"]].encode()


def _errors(**texts: str) -> EventRefused:
    return EventRefused({"errors": {name: [text] for name, text in texts.items()}})


def _check_timestamp(payload: Any) -> None:
    time = payload.get("timestamp")
    if time is not None and not (
        isinstance(time, str) and time.isdecimal() and len(time) in (13, 16)
    ):
        raise _errors(timestamp="is invalid")


def _run_start(run: ServerRun, payload: Any, dataclips: dict[str, str]) -> None:
    if run.state != "claimed":
        raise _errors(state=f"cannot start a run that is {run.state}")
    run.state = "started"


def _step_start(run: ServerRun, payload: Any, dataclips: dict[str, str]) -> Any:
    if payload.get("job_id") not in {job["id"] for job in run.plan["jobs"]}:
        raise _errors(job_id="does not exist")
    id = payload.get("step_id")
    if not _is_uuid(id) or id in run.steps:
        raise _errors(step_id="has already been taken")
    input_id = payload.get("input_dataclip_id")
    if input_id is not None and input_id not in dataclips:
        raise _errors(input_dataclip_id="does not exist")
    run.steps[id] = dict(payload)
    return {"step_id": id}


def _step_complete(run: ServerRun, payload: Any, dataclips: dict[str, str]) -> Any:
    step = run.steps.get(payload.get("step_id"))
    if step is None or payload.get("reason") not in STATES:
        raise _errors(step_id="not found")
    if "reason" in step:
        raise _errors(step_id="is already complete")
    _check_reason(payload)
    _save_output(run, payload, dataclips)
    step.update(payload)
    return {"step_id": payload["step_id"]}


def _save_output(run: ServerRun, payload: Any, dataclips: dict[str, str]) -> None:
    id, text = payload.get("output_dataclip_id"), payload.get("output_dataclip")
    if run.save_dataclips and (id is None) != (text is None):
        raise _errors(output_dataclip="can't be blank")
    if id is None:
        return
    if not _is_uuid(id) or id in dataclips:
        raise _errors(output_dataclip_id="has already been taken")
    try:
        is_object = text is None or isinstance(json.loads(text), dict)
    except (TypeError, ValueError):
        is_object = False
    if not is_object:
        raise _errors(output_dataclip="is invalid")
    dataclips[id] = text if run.save_dataclips and text is not None else "null"


def _check_reason(payload: Any) -> None:
    texts = payload.get("error_type"), payload.get("error_message")
    if payload["reason"] == "success" and texts != (None, None):
        raise _errors(error_type="must be blank")


def _run_log(run: ServerRun, payload: Any, dataclips: dict[str, str]) -> Any:
    _check_line(run, payload)
    run.logs.append(payload)
    return {"log_line_id": str(uuid.uuid4())}


def _batch_logs(run: ServerRun, payload: Any, dataclips: dict[str, str]) -> Any:
    lines = payload.get("logs")
    if not isinstance(lines, list) or not 0 < len(lines) <= 50:
        raise _errors(logs="is invalid")
    for line in lines:
        _check_line(run, line)
    run.logs.extend(lines)
    return {}


def _check_line(run: ServerRun, line: Any) -> None:
    _check_timestamp(line)
    if line.get("timestamp") is None:
        raise _errors(timestamp="can't be blank")
    message = line.get("message")
    text = " ".join(map(str, message)) if isinstance(message, list) else ""
    if not text.strip() or "\0" in text:
        raise _errors(message="can't be blank")
    if len(line.get("source") or "") > 8 or line.get("level", "info") not in LEVELS:
        raise _errors(source="is invalid")
    step_id = line.get("step_id")
    if step_id is not None and step_id not in run.steps:
        raise _errors(step_id="must be associated with the run")


def _run_complete(run: ServerRun, payload: Any, dataclips: dict[str, str]) -> None:
    if run.complete is not None:
        raise _errors(state="already in completed state")
    if payload.get("reason") not in STATES:
        raise _errors(state="is invalid")
    _check_reason(payload)
    id = payload.get("final_dataclip_id")
    if id is not None and id not in dataclips:
        raise _errors(final_dataclip_id="does not exist")
    run.state = STATES[payload["reason"]]
    run.complete = payload


def _is_uuid(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(uuid.UUID(value))
    except ValueError:
        return False


_HANDLERS: dict[str, Callable[[ServerRun, Any, dict[str, str]], Any]] = {
    "run:start": _run_start,
    "step:start": _step_start,
    "step:complete": _step_complete,
    "run:log": _run_log,
    "run:batch_logs": _batch_logs,
    "run:complete": _run_complete,
}
