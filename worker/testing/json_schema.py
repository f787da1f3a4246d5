"""JSON Schema of case files, for editors: completion, descriptions, mistakes underlined.

Generated from the tables that the reader uses; shipped as ``cases.schema.json`` beside this module.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from worker.core.scripted import FAILURES
from worker.core.status import Status
from worker.testing.case_keys import (
    CASE_KEYS,
    CRON_KEYS,
    DEFAULT_KEYS,
    EXPECT_KEYS,
    FILE_KEYS,
    RETRY_KEYS,
    RUN_KEYS,
    STEP_KEYS,
)
from worker.testing.case_reader import TIMES_LIMIT
from worker.testing.case_trigger import OUTCOMES
from worker.testing.cost_bound import PATTERN as COST_BOUND
from worker.testing.execution_keys import EXECUTIONS
from worker.testing.stub_reader import REPLY_KEYS, REQUEST_KEYS, STUB_KEYS
from worker.testing.trigger_reader import CALL_KEYS, MESSAGE_KEYS, RESPONSE_KEYS, TICK_KEYS

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_NAME: Schema = {"type": ["string", "number"]}
_NAMES: Schema = {"type": "array", "items": _NAME}
_OBJECT: Schema = {"type": "object"}
# A variable of a matrix may stand anywhere, so a number can be a text in the file.
_VARIABLE: Schema = {"type": "string", "pattern": r"\$\{[\w-]+\}"}


def _or_variable(schema: Schema) -> Schema:
    return {"anyOf": [schema, _VARIABLE]}


_NUMBER = _or_variable({"type": "number", "minimum": 0})
_TIMES = _or_variable({"type": "integer", "minimum": 1, "maximum": TIMES_LIMIT})
_BOUND = _or_variable({"type": "string", "pattern": f"^{COST_BOUND}$"})
_ERROR_TYPE = _or_variable({"enum": list(FAILURES)})

_FIELDS: dict[str, tuple[str, Schema]] = {
    # a file
    "workflow": ("The workflow's file, relative to this one.", _TEXT),
    "pick": ("The workflow to pick of a project, by key, id or name.", _NAME),
    "defaults": (
        "Keys that all cases share, unless they have their own.",
        {"$ref": "#/$defs/defaults"},
    ),
    "cases": ("The cases.", {"type": "array", "items": {"$ref": "#/$defs/case"}}),
    # a case
    "name": ("A sentence that states the behaviour under test.", _NAME),
    "matrix": (
        "Lists of values by name: the case is run for every combination, with ${name} filled in.",
        {"type": "object", "additionalProperties": {"type": "array", "minItems": 1}},
    ),
    "input": ("The input of the run.", _OBJECT),
    "input_file": ("A JSON file beside this one that holds the input.", _TEXT),
    "steps": ("Scripts of steps, which replace their code.", {"$ref": "#/$defs/steps"}),
    "timeout": ("The run's time limit in seconds; scripted time counts.", _NUMBER),
    "memory": ("The run's memory limit in MB.", _NUMBER),
    # Of a case and of a retry.
    "start_at": ("Start at this step; a retry gives it the input that it had.", _NAME),
    "stop_after": ("Stop after this step.", _NAME),
    "at": (
        "The virtual time at which the case begins, ISO 8601. Default: 2026-01-01T00:00:00Z.",
        _TEXT,
    ),
    "retry": ("Try the work order again while it fails.", {"$ref": "#/$defs/retry"}),
    "cron": ("Let the cron trigger fire several times.", {"$ref": "#/$defs/cron"}),
    "expect": ("The expected end, path, edges and states.", {"$ref": "#/$defs/expect"}),
    "run_id": ("The run's id, which seeds its ids and random numbers.", _TEXT),
    "credentials": (
        "Content of the credentials that steps name, by name. No real ones: this file is shared.",
        {"type": "object", "additionalProperties": _OBJECT},
    ),
    "collections": (
        "Values of collections by key, by name: those before the runs, or a part of those after.",
        {"type": "object", "additionalProperties": _OBJECT},
    ),
    "http": (
        "Stubbed replies of services; the first that matches the request.",
        {"type": "array", "items": {"$ref": "#/$defs/stub"}},
    ),
    # a stub
    "step": ("Only requests of this step.", _NAME),
    "request": ("The requests that it matches.", {"$ref": "#/$defs/request"}),
    "reply": ("The reply.", {"$ref": "#/$defs/reply"}),
    "replies": (
        "Replies, one after the other; the last one repeats.",
        {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/reply"}},
    ),
    "delay": ("Seconds of virtual time until the reply.", _NUMBER),
    # retry and cron
    "times": ("The number of times.", _TIMES),
    "after": ("Seconds between the end of a run and its retry.", _NUMBER),
    "expression": ("A cron expression; default: that of the workflow's trigger.", _TEXT),
    # a scripted step
    "returns": ("The state that the step returns.", {}),
    "leaves": ("The state that a failing step leaves behind; default: its input.", {}),
    "fails": ("The type of the error that the step fails with.", _ERROR_TYPE),
    "message": ("The error's message.", _TEXT),
    "details": ("Further fields of the error, such as statusCode.", _OBJECT),
    "takes": ("Seconds of virtual time that the step takes.", _NUMBER),
    "hangs": ("True for a step that never ends.", {"type": "boolean"}),
    # an expectation
    "status": ("The run's status.", _or_variable({"enum": [str(status) for status in Status]})),
    "error_type": ("The type of the run's error.", _ERROR_TYPE),
    "error_message": ("A part of the error's message.", _TEXT),
    "path": ("The steps that run, in order, and no others.", _NAMES),
    "through": ("Steps that run in this order, others between them.", _NAMES),
    "never": ("Steps that do not run.", _NAMES),
    "taken": ("Edges (source->target) that are taken.", _NAMES),
    "not_taken": ("Edges (source->target) that are not taken although their source ran.", _NAMES),
    "state": ("A part of the final state.", {}),
    "state_exact": ("The whole final state.", {}),
    "state_at": ("Values at JSONPaths (RFC 9535) in the final state.", _OBJECT),
    "outputs": ("A part of the outputs of steps.", _OBJECT),
    "logs": ("Parts of log lines.", {"type": "array", "items": _TEXT}),
    "cost": ("A bound of the run's instructions, such as < 2M.", _BOUND),
    "costs": (
        "Bounds of the instructions of steps, by step.",
        {"type": "object", "additionalProperties": _BOUND},
    ),
    "runs": (
        "Expectations of each run, in order: the retries, or the firings of the cron trigger.",
        {"type": "array", "items": {"$ref": "#/$defs/run"}},
    ),
    "trigger": (
        "What the trigger makes of what it receives; default: fired.",
        _or_variable({"enum": list(OUTCOMES)}),
    ),
    "response": ("The response to the call.", {"$ref": "#/$defs/response"}),
}

# Of a case: a step has a message too.
_STARTS: dict[str, tuple[str, Schema]] = {
    "message": ("A message that a trigger receives.", {"$ref": "#/$defs/message"}),
    "call": ("A call that a webhook receives.", {"$ref": "#/$defs/call"}),
    "tick": (
        "The next tick of a cron trigger; the input of the case is its cursor.",
        {"$ref": "#/$defs/tick"},
    ),
}
_TRIGGER: dict[str, tuple[str, Schema]] = {
    "topic": ("Its topic.", _TEXT),
    "json": ("Its content, as JSON.", {}),
    "text": ("Its content, as text.", _TEXT),
    "base64": ("Its content, as bytes.", _TEXT),
    "qos": ("Its quality of service; default: 1.", _or_variable({"enum": [0, 1, 2]})),
    "retain": ("True for a retained message.", {"type": "boolean"}),
    "properties": ("Its user properties.", _OBJECT),
    "trigger": ("The trigger, where several could receive it.", _NAME),
    "path": ("The path of the webhook; default: that of the only one.", _TEXT),
    "headers": ("Its headers.", _OBJECT),
    "query": ("The parameters after the path.", _OBJECT),
    "code": ("Its HTTP status.", _or_variable({"type": "integer"})),
}


_REQUEST: dict[str, tuple[str, Schema]] = {
    "method": ("Its method.", _TEXT),
    "url": ("Its URL; * stands for anything.", _TEXT),
    "body": ("A part of its body: JSON, or text.", {}),
}
_REPLY: dict[str, tuple[str, Schema]] = {
    "status": ("Its HTTP status; default: 200.", _or_variable({"type": "integer"})),
    "reason": ("Its reason phrase.", _TEXT),
    "url": ("The URL that it came from.", _TEXT),
    "headers": ("Its headers.", {"type": ["object", "array"]}),
    "json": ("Its body, as JSON.", {}),
    "text": ("Its body, as text.", _TEXT),
    "base64": ("Its body, as bytes.", _TEXT),
    "error": ("No reply, but an error of the connection: {name, message, code}.", _OBJECT),
}


def case_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of case files, a new one each time."""
    scripted = _object(STEP_KEYS)
    one_by_one = {"type": "object", "minProperties": 1, "additionalProperties": False}
    by_execution = {**one_by_one, "patternProperties": {f"^({EXECUTIONS})$": scripted}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Cases of a workflow",
        **_object(FILE_KEYS, required=("workflow", "cases")),
        "$defs": {
            "defaults": _object(DEFAULT_KEYS),
            "case": _with(CASE_KEYS, {**_FIELDS, **_STARTS}, ("name", "expect")),
            "steps": {
                "type": "object",
                "additionalProperties": {"anyOf": [scripted, by_execution]},
            },
            "retry": _object(RETRY_KEYS, required=("times",)),
            "cron": _object(CRON_KEYS, required=("times",)),
            "message": _with(MESSAGE_KEYS, _TRIGGER, ("topic",)),
            "call": _with(CALL_KEYS, _TRIGGER),
            "tick": _with(TICK_KEYS, _TRIGGER),
            "response": _with(RESPONSE_KEYS, _TRIGGER),
            "expect": _object(EXPECT_KEYS),
            "run": _object(RUN_KEYS),
            "stub": _object(STUB_KEYS),
            "request": _with(REQUEST_KEYS, _REQUEST),
            "reply": _with(REPLY_KEYS, _REPLY),
        },
    }


def _object(keys: Iterable[str], required: tuple[str, ...] = ()) -> Schema:
    return _with(keys, _FIELDS, required)


def _with(
    keys: Iterable[str], known: dict[str, tuple[str, Schema]], required: tuple[str, ...] = ()
) -> Schema:
    fields = {key: {"description": known[key][0], **known[key][1]} for key in keys}
    schema: Schema = {"type": "object", "properties": fields, "additionalProperties": False}
    return {**schema, "required": list(required)} if required else schema
