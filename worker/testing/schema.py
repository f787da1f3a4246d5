"""The JSON Schema of case files, for editors: completion, descriptions, mistakes underlined.

Made from the same tables that the reader uses; shipped as ``cases.schema.json`` beside this module.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from worker.core.scripted import FAILURES
from worker.core.status import Status
from worker.testing.cases import (
    ACT_KEYS,
    CASE_KEYS,
    CRON_KEYS,
    DEFAULT_KEYS,
    EXECUTIONS,
    EXPECT_KEYS,
    RETRY_KEYS,
    RUN_KEYS,
    SUITE_KEYS,
    TIMES_LIMIT,
)
from worker.testing.stubs import REPLY_KEYS, REQUEST_KEYS, STUB_KEYS

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_NAME: Schema = {"type": ["string", "number"]}
_NAMES: Schema = {"type": "array", "items": _NAME}
_OBJECT: Schema = {"type": "object"}
_VARIABLE: Schema = {"type": "string", "pattern": r"\$\{[\w-]+\}"}
"""A value of a matrix may stand anywhere."""


def _or_variable(schema: Schema) -> Schema:
    return {"anyOf": [schema, _VARIABLE]}


_NUMBER = _or_variable({"type": "number", "minimum": 0})
_TIMES = _or_variable({"type": "integer", "minimum": 1, "maximum": TIMES_LIMIT})
_ERROR_TYPE = _or_variable({"enum": list(FAILURES)})

_FIELDS: dict[str, tuple[str, Schema]] = {
    # a file
    "workflow": ("The workflow's file, relative to this one.", _TEXT),
    "pick": ("Which workflow of the file, by key, id or name.", _NAME),
    "defaults": ("What all cases share, unless they say otherwise.", {"$ref": "#/$defs/defaults"}),
    "cases": ("The cases.", {"type": "array", "items": {"$ref": "#/$defs/case"}}),
    # a case
    "name": ("What the case shows, in a sentence.", _NAME),
    "matrix": (
        "Lists of values by name: the case is run for every combination, with ${name} filled in.",
        {"type": "object", "additionalProperties": {"type": "array", "minItems": 1}},
    ),
    "input": ("The input of the run.", _OBJECT),
    "input_file": ("A JSON file beside this one that holds the input.", _TEXT),
    "steps": ("What steps do instead of running their code.", {"$ref": "#/$defs/steps"}),
    "timeout": ("The run's time limit in seconds; scripted time counts.", _NUMBER),
    "memory": ("The run's memory limit in MB.", _NUMBER),
    "start": ("Start at this step.", _NAME),
    "end": ("Stop after this step.", _NAME),
    "at": ("When the case takes place, ISO 8601. Default: 2026-01-01T00:00:00Z.", _TEXT),
    "retry": ("Try the work order again while it fails.", {"$ref": "#/$defs/retry"}),
    "cron": ("Let the cron trigger fire several times.", {"$ref": "#/$defs/cron"}),
    "expect": ("What must come of it.", {"$ref": "#/$defs/expect"}),
    "run_id": ("The run's id, which its ids and random numbers are made from.", _TEXT),
    "credentials": (
        "What the credentials hold that steps name, by name. No real ones: this file is shared.",
        {"type": "object", "additionalProperties": _OBJECT},
    ),
    "http": (
        "What services answer; the first rule that fits.",
        {"type": "array", "items": {"$ref": "#/$defs/stub"}},
    ),
    # an answer
    "step": ("Only requests of this step.", _NAME),
    "request": ("What a request must be like.", {"$ref": "#/$defs/request"}),
    "reply": ("The answer.", {"$ref": "#/$defs/reply"}),
    "replies": (
        "Answers, one after the other; the last one for ever.",
        {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/reply"}},
    ),
    "delay": ("Seconds of virtual time until the answer.", _NUMBER),
    # retry and cron
    "times": ("How often.", _TIMES),
    "after": ("Seconds between the end of a run and the next try.", _NUMBER),
    "from": ("Begin each try at this step, with the input that it had.", _NAME),
    "expression": ("A cron expression; default: that of the workflow's trigger.", _TEXT),
    # an act
    "returns": ("The state that the step returns.", {}),
    "leaves": ("The state that a failing step leaves behind; default: its input.", {}),
    "fails": ("The type of the error that the step fails with.", _ERROR_TYPE),
    "message": ("The error's message.", _TEXT),
    "details": ("What else the error carries, such as statusCode.", _OBJECT),
    "takes": ("Seconds of virtual time that the step takes.", _NUMBER),
    "hangs": ("Whether the step never ends.", {"type": "boolean"}),
    # an expectation
    "status": ("The run's status.", _or_variable({"enum": [str(one) for one in Status]})),
    "error_type": ("The type of the run's error.", _ERROR_TYPE),
    "error_message": ("A part of the error's message.", _TEXT),
    "path": ("The steps that run, in order, and no others.", _NAMES),
    "through": ("Steps that run in this order, others between them.", _NAMES),
    "never": ("Steps that do not run.", _NAMES),
    "taken": ("Edges (source->target) that are followed.", _NAMES),
    "refused": ("Edges whose source ran, and that are not followed.", _NAMES),
    "state": ("A part of the final state.", {}),
    "state_exact": ("The whole final state.", {}),
    "state_at": ("What JSONPaths (RFC 9535) find in the final state.", _OBJECT),
    "outputs": ("A part of what steps give back.", _OBJECT),
    "logs": ("Parts of log lines.", {"type": "array", "items": _TEXT}),
    "runs": (
        "What each run must be, in order: the retries, or what the schedule fires.",
        {"type": "array", "items": {"$ref": "#/$defs/run"}},
    ),
}


_REQUEST: dict[str, tuple[str, Schema]] = {
    "method": ("Its method.", _TEXT),
    "url": ("Its URL; * stands for anything.", _TEXT),
    "body": ("A part of its body: JSON, or text.", {}),
}
_REPLY: dict[str, tuple[str, Schema]] = {
    "status": ("Its status; default: 200.", _or_variable({"type": "integer"})),
    "reason": ("Its reason phrase.", _TEXT),
    "url": ("The URL that it came from.", _TEXT),
    "headers": ("Its headers.", {"type": ["object", "array"]}),
    "json": ("Its body, as JSON.", {}),
    "text": ("Its body, as text.", _TEXT),
    "base64": ("Its body, as bytes.", _TEXT),
    "error": ("No answer at all: {name, message, code}.", _OBJECT),
}


def schema() -> Schema:
    """The schema, a new one each time."""
    act = _object(ACT_KEYS)
    one_by_one = {"type": "object", "minProperties": 1, "additionalProperties": False}
    by_execution = {**one_by_one, "patternProperties": {f"^({EXECUTIONS})$": act}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Cases of a workflow",
        **_object(SUITE_KEYS, required=("workflow", "cases")),
        "$defs": {
            "defaults": _object(DEFAULT_KEYS),
            "case": _object(CASE_KEYS, required=("name", "expect")),
            "steps": {"type": "object", "additionalProperties": {"anyOf": [act, by_execution]}},
            "retry": _object(RETRY_KEYS, required=("times",)),
            "cron": _object(CRON_KEYS, required=("times",)),
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
    found: Schema = {"type": "object", "properties": fields, "additionalProperties": False}
    return {**found, "required": list(required)} if required else found
