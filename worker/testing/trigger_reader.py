"""Reader of the triggers of a case: ``message``, ``call`` and ``tick``, and their outcomes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from worker.errors import UsageError
from worker.testing.case_trigger import FIRED, OUTCOMES, ExpectedResponse, TriggerStart
from worker.util.json import dumps
from worker.workflow.documents.cursor import Cursor
from worker.workflow.documents.data import shorten
from worker.workflow.model import Workflow

if TYPE_CHECKING:
    from worker.testing.trigger_start import WorkflowTriggers

BODY_KEYS = ("json", "text", "base64")
MESSAGE_KEYS = ("topic", *BODY_KEYS, "qos", "retain", "properties", "trigger")
CALL_KEYS = ("path", *BODY_KEYS, "headers", "query")
TICK_KEYS = ("trigger",)
RESPONSE_KEYS = ("code", "json", "text")
START_KEYS = ("message", "call", "tick")
_INPUTS = ("input", "input_file")


class TriggerReader:
    """Reads what starts the cases of one workflow."""

    def __init__(self, workflow: Workflow) -> None:
        self._workflow = workflow
        self._triggers: WorkflowTriggers | None = None

    def start(self, node: Cursor, begins_at_us: int) -> TriggerStart | None:
        """Read what starts a case, if it is a trigger. Fails with line and column on a mistake."""
        keys = [key for key in START_KEYS if node.has(key)]
        if not keys:
            return None
        if len(keys) > 1 or node.has("cron"):
            node.fail(f"expected one of {', '.join(START_KEYS)} and cron, found several")
        start = node.at(keys[0])
        if keys[0] != "tick" and any(map(node.has, _INPUTS)):
            start.fail(f"the {keys[0]} makes the input: expected no 'input' beside it")
        readers: dict[str, Callable[[WorkflowTriggers, Cursor], TriggerStart]] = {
            "message": _message,
            "call": _call,
            "tick": lambda triggers, tick: triggers.tick(_tick(tick), begins_at_us),
        }
        try:
            return readers[keys[0]](self._read_triggers(), start)
        except UsageError as error:
            start.fail(f"stale: {error}")

    def _read_triggers(self) -> WorkflowTriggers:
        # Imported here: most files have no triggers, and pytest reads every case file.
        from worker.testing.trigger_start import WorkflowTriggers

        if self._triggers is None:
            self._triggers = WorkflowTriggers(self._workflow)
        return self._triggers


def _message(triggers: WorkflowTriggers, node: Cursor) -> TriggerStart:
    from worker.testing.trigger_start import topic_message

    node.mapping(*MESSAGE_KEYS)
    qos = node.at("qos").value
    if qos not in (None, 0, 1, 2):
        node.at("qos").fail("expected 0, 1 or 2")
    message = topic_message(
        node.at("topic").name(),
        _body(node),
        qos=1 if qos is None else qos,
        retain=node.at("retain").flag(default=False),
        properties=_texts(node.at("properties")),
    )
    return triggers.message(message, node.at("trigger").name(""))


def _call(triggers: WorkflowTriggers, node: Cursor) -> TriggerStart:
    from worker.testing.trigger_start import webhook_call

    node.mapping(*CALL_KEYS)
    call = webhook_call(
        node.at("path").name(""),
        _body(node),
        is_json=node.has("json"),
        headers=_texts(node.at("headers")),
        query=urlencode(_texts(node.at("query"))),
    )
    return triggers.call(call)


def _tick(node: Cursor) -> str:
    return node.mapping(*TICK_KEYS).at("trigger").name("")


def _body(node: Cursor) -> bytes:
    forms = [key for key in BODY_KEYS if node.has(key)]
    if len(forms) > 1:
        node.fail(f"expected one of {', '.join(BODY_KEYS)}, found several")
    if node.has("json"):
        return dumps(node.at("json").value).encode()
    if node.has("text"):
        return node.at("text").text().encode()
    try:
        return base64.b64decode(node.at("base64").text(""), validate=True)
    except binascii.Error as error:
        node.at("base64").fail(f"expected base64: {error}")


def _texts(node: Cursor) -> dict[str, str]:
    return {key: value.name("") for key, value in node.items()}


# --- expectations ---------------------------------------------------------------------------------


def read_outcome(node: Cursor, start: TriggerStart | None) -> str:
    """Read the expected outcome of a trigger from an expectation; ``fired`` by default."""
    key = node.at("trigger")
    outcome = key.name("") or FIRED
    if not node.has("trigger"):
        return outcome
    if start is None:
        key.fail(f"the case has no {', '.join(START_KEYS[:-1])} or {START_KEYS[-1]}")
    if outcome not in OUTCOMES:
        key.fail(f"unknown outcome '{shorten(outcome)}' (expected one of {', '.join(OUTCOMES)})")
    others = [name for name in node.data() if name not in ("trigger", "response")]
    if outcome != FIRED and others:
        node.at(others[0]).fail(f"no run starts where the outcome is '{outcome}'")
    return outcome


def read_response(node: Cursor, start: TriggerStart | None) -> ExpectedResponse | None:
    """Read the expected response to a call."""
    if node.value is None:
        return None
    node.mapping(*RESPONSE_KEYS)
    if start is None or (start.webhook is None and start.response is None):
        node.fail("only a call has a response")
    code = node.at("code").value
    if code is not None and (isinstance(code, bool) or not isinstance(code, int)):
        node.at("code").fail("expected a status code of HTTP, such as 200")
    text = node.at("text").any_text() if node.has("text") else None
    return ExpectedResponse(code=code, json=node.at("json").value, text=text)


def start_input(start: TriggerStart | None, input: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the input that a trigger makes; a tick has that of the case, as its cursor."""
    return input if start is None or start.input is None else start.input
