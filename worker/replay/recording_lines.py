"""Lines of a recording: their types, and their one encoding as JSON."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from worker.adaptors.http.exchange import (
    Exchange,
    ExchangeError,
    HttpRequest,
    body_of,
    reply_fields,
    reply_of,
    request_fields,
)
from worker.errors import LoadError, UsageError
from worker.sandbox.limits import Limits
from worker.util.json import dumps
from worker.util.nesting import (
    ENVELOPE_LEVELS,
    NESTING_LIMIT,
    VALUE_LIMIT,
    has_more_values,
    nests_deeper,
)

FORMAT: Final = 2
"""Version of the format. Version 1 was a folder of files."""


class RecordingHeader(Struct, frozen=True, kw_only=True, tag_field="type", tag="recording"):
    """Description of the recorded run: the first line.

    ``input`` is the id of the dataclip that the run began with. ``credentials`` are masked, by
    name. ``collections`` is the URL of the endpoint of collections, if the run had one. ``origin``
    is ``worker``, ``fleet``, ``lightning``, ``cli`` or ``case``: all but the first have no
    requests. ``fleet`` is a run of this software that was recorded after it had ended.
    """

    format: int = FORMAT
    run_id: str
    workflow: str
    input: str = ""
    start: str = ""
    end: str = ""
    limits: Limits = field(default_factory=Limits)
    credentials: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    adaptors: Mapping[str, str] = field(default_factory=dict)
    collections: str = ""
    origin: str = "worker"


class _WorkflowLine(Struct, frozen=True, kw_only=True, tag_field="type", tag="workflow"):
    """The workflow, as an execution plan."""

    plan: Mapping[str, Any]


class _ExchangeLine(Struct, frozen=True, kw_only=True, tag_field="type", tag="exchange"):
    """A request and its reply, with the run's time (microseconds) at which each was sent."""

    step: str
    execution: int
    sent_us: int
    arrived_us: int
    request: Mapping[str, Any]
    reply: Mapping[str, Any]


class _DroppedLine(Struct, frozen=True, kw_only=True, tag_field="type", tag="dropped"):
    """The number of requests that had no room in the recording."""

    requests: int


class _DataclipHead(Struct, frozen=True, kw_only=True):
    """A dataclip's line without its content."""

    id: str


# --- writing --------------------------------------------------------------------------------------

_encode = msgspec.json.Encoder().encode


def header_line(header: RecordingHeader) -> bytes:
    return _encode_line(header)


def workflow_line(plan: Mapping[str, Any]) -> bytes:
    """Encode an execution plan."""
    return _encode_line(_WorkflowLine(plan=plan))


def _encode_line(line: Struct) -> bytes:
    try:
        return _encode(line) + b"\n"
    except UnicodeEncodeError:
        # Half of a surrogate pair has no UTF-8 form, which msgspec rejects; json can escape it.
        fields = msgspec.to_builtins(line)
        return dumps(fields).encode() + b"\n"


def exchange_line(exchange: Exchange) -> bytes:
    """Encode a request and its reply."""
    line = _ExchangeLine(
        step=exchange.step,
        execution=exchange.execution,
        sent_us=exchange.sent_us,
        arrived_us=exchange.arrived_us,
        request=request_fields(exchange.request),
        reply=reply_fields(exchange.reply),
    )
    return _encode_line(line)


def dropped_line(requests: int) -> bytes:
    """Encode the number of requests that had no room."""
    return _encode_line(_DroppedLine(requests=requests))


def dataclip_id(content: bytes) -> str:
    """Return the id of a dataclip, which is the SHA-256 of its content."""
    return hashlib.sha256(content).hexdigest()


def dataclip_line(id: str, content: bytes) -> bytes:
    """Encode a dataclip, with the bytes of its content as they are."""
    # The content is last: a state may be nested more deeply than any parser goes, and a reader can
    # cut it out without parsing it.
    return b'{"type":"dataclip","id":"%b","content":%b}\n' % (id.encode(), content)


# --- reading --------------------------------------------------------------------------------------

_TYPE = re.compile(rb'\{\s*"type"\s*:\s*"([^"\\]*)"')
_BEGIN = b'{"type":"recording"'


def type_of(line: bytes) -> str:
    """Return the type of a line. Raises ``ValueError`` if it has none."""
    match = _TYPE.match(line)
    if match is None:
        raise ValueError("expected a JSON object that begins with its type")
    return match[1].decode("utf-8", "replace")


def begins_recording(head: bytes) -> bool:
    """Return True for the beginning of a recording, even if it is cut off there."""
    match = _TYPE.match(head)
    return match[1] == b"recording" if match else _BEGIN.startswith(head)


def check_values(text: bytes) -> None:
    """Raise ``ValueError`` for JSON with so many values that to decode it would fill memory."""
    if has_more_values(text):
        raise ValueError(f"more than {VALUE_LIMIT:,} values")


def fields_of(text: bytes) -> dict[str, Any]:
    """Decode a JSON object. Raises ``ValueError`` for anything else."""
    check_values(text)
    # Checked before: json, which reads what msgspec rejects, has a limit of its own.
    if nests_deeper(text, NESTING_LIMIT + ENVELOPE_LEVELS):
        raise ValueError("nested too deeply")
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        # msgspec rejects numbers and characters that json accepts, and that a job can send.
        return _fields_by_json(text)


def _fields_by_json(text: bytes) -> dict[str, Any]:
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise ValueError("expected a JSON object")
    return fields


def header_of(fields: Mapping[str, Any], file: str) -> RecordingHeader:
    """Validate the description of a run, of any version up to this one.

    Unknown fields are ignored. Raises ``ValueError`` for a description that no version has
    written, and :class:`LoadError` for one that a newer version has.
    """
    version = fields.get("format")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"not a recording: expected the version of its format, found {version!r}")
    if version > FORMAT:
        message = (
            f"format {version} of recordings is newer than this version of worker, "
            f"which reads up to {FORMAT}: use a newer one"
        )
        raise LoadError(message, file=file)
    try:
        header = msgspec.convert(fields, RecordingHeader)
    # A replay runs within these limits, and a recording may have been edited by hand.
    except (msgspec.ValidationError, UsageError) as error:
        raise ValueError(f"not a recording: {error}") from error
    return header


def plan_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the execution plan of a workflow's line. Raises ``ValueError`` if it has none."""
    plan = fields.get("plan")
    if not isinstance(plan, dict):
        raise ValueError("not a workflow: expected an execution plan")
    return plan


def exchange_of(fields: Mapping[str, Any]) -> Exchange:
    """Validate a request and its reply. Raises ``ValueError`` if they are none."""
    try:
        line = msgspec.convert(fields, _ExchangeLine)
        request = line.request
        return Exchange(
            step=line.step,
            execution=line.execution,
            sent_us=line.sent_us,
            arrived_us=line.arrived_us,
            request=HttpRequest(
                method=request["method"],
                url=request["url"],
                headers=tuple((name, value) for name, value in request["headers"]),
                body=body_of(request),
                redirects=request["redirects"],
            ),
            reply=reply_of(line.reply),
        )
    except (KeyError, TypeError, ValueError, ExchangeError, msgspec.ValidationError) as error:
        raise ValueError(f"not an exchange: {error}") from error


def dataclip_of_line(line: bytes) -> tuple[str, bytes]:
    """Return the id and the content of a dataclip's line.

    Raises ``ValueError`` if it has none.
    """
    head, separator, rest = line.rstrip().partition(b'"content":')
    if not separator or not rest.endswith(b"}"):
        raise ValueError("not a dataclip: expected its content at the end")
    try:
        id = msgspec.json.decode(head.rstrip().removesuffix(b",") + b"}", type=_DataclipHead).id
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"not a dataclip: {error}") from error
    return id, rest.removesuffix(b"}").strip()
