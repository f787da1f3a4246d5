"""Events of a run: their types, and their one encoding in journals and on the wire.

A run emits ``run:start``, then for each execution of a step ``step:start``, ``run:log`` (any
number) and ``step:complete``, and at last ``run:complete``, exactly once. ``seq`` counts the
events of a run from 0 without a gap. ``timestamp`` is in microseconds since the epoch.

``step_id`` is the UUID of one execution and ``job_id`` the id of the step in the workflow, in an
event and in the error that it carries.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, cast, get_args

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from msgspec.structs import asdict, force_setattr, replace

from worker.core.error_json import error_to_dict
from worker.core.outcome import StepError
from worker.core.status import STATUS_OF_REASON, Reason, Status
from worker.util.json import dumps

# 2**53 is the largest integer that every JSON reader holds exactly.
Count = Annotated[int, Meta(ge=0, le=2**53)]
# Left out of the encoded event where no instructions were counted.
Cost: TypeAlias = Count | UnsetType
# A virtual clock may stand before 1970, or thousands of years from now.
Timestamp = Annotated[int, Meta(ge=-(2**62), le=2**62)]


class Dataclip:
    """A state as JSON text, which is parsed when ``value`` is first read."""

    __slots__ = ("_value", "text")

    def __init__(self, text: str) -> None:
        self.text = text

    @classmethod
    def of(cls, value: Any) -> Dataclip:
        """Encode JSON data as a dataclip."""
        return cls(dumps(value))

    @property
    def value(self) -> Any:
        """The state as Python objects. Raises ``RecursionError`` if it is nested too deeply."""
        if not hasattr(self, "_value"):
            self._value = json.loads(self.text)
        return self._value

    def __eq__(self, other: object) -> bool:
        """Compare as JSON: a number may be spelled in more than one way."""
        if not isinstance(other, Dataclip):
            return NotImplemented
        return self.text == other.text or bool(self.value == other.value)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Dataclip({self.text[:80]!r})"


# For msgspec the field is Raw: the decoder passes over a state and hands out its bytes. A custom
# type with a decoding hook would be parsed first. `__post_init__` makes a Dataclip of the bytes.
if TYPE_CHECKING:
    OptionalDataclip: TypeAlias = Dataclip | None
else:
    OptionalDataclip = Raw


class Event(Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    """The fields of all events."""

    run_id: str
    seq: Count
    timestamp: Timestamp

    @property
    def type(self) -> str:
        """The name of the event's type, such as ``run:start``."""
        return str(self.__struct_config__.tag)


class RunStart(Event, tag="run:start", frozen=True, kw_only=True):
    """The run's process has begun. ``versions`` names the software that runs it."""

    workflow: str
    versions: Mapping[str, str]


class StepStart(Event, tag="step:start", frozen=True, kw_only=True):
    """An execution of a step begins. ``execution`` counts the step's executions from 0."""

    step_id: str
    job_id: str
    job_name: str
    input_dataclip_id: str
    execution: Count


class RunLog(Event, tag="run:log", frozen=True, kw_only=True):
    """A log line. The ids are empty outside of a step.

    ``source``: JOB (console), ADA (adaptor), R/T (runtime), CMP (compiler) or VER (versions).
    ``level``: debug, info, warn or error.
    """

    source: str
    level: str
    message: str
    step_id: str = ""
    job_id: str = ""


class StepComplete(Event, tag="step:complete", frozen=True, kw_only=True):
    """An execution of a step has ended.

    ``output_dataclip`` is ``None`` where the step returned nothing, was aborted, or the output is
    over the payload limit (``withheld``: the next step still receives it). ``next`` lists the
    steps that its edges selected. ``mem`` is the run's peak resident memory so far, in bytes, and
    ``duration`` is in microseconds. ``cost`` counts the engine's instructions for the execution
    and the conditions after it, where the run has fuel. ``error_type`` and ``error_message`` repeat
    those of ``error``.
    """

    step_id: str
    job_id: str
    reason: Reason
    output_dataclip_id: str | None = None
    withheld: bool = False
    next: tuple[str, ...] = ()
    mem: Count = 0
    duration: Count = 0
    cost: Cost = UNSET
    error_type: str | None = None
    error_message: str | None = None
    error: StepError | None = None
    output_dataclip: OptionalDataclip = None

    def __post_init__(self) -> None:
        if self.error is not None:
            _copy_error(self, self.error)
        if isinstance(self.output_dataclip, Raw):
            force_setattr(self, "output_dataclip", _dataclip(self.output_dataclip))


class RunComplete(Event, tag="run:complete", frozen=True, kw_only=True):
    """The run has ended. Fields of the same name are those of a completed step.

    ``final_state`` is ``None`` where there is none, or where it is over the payload limit
    (``withheld``).
    """

    reason: Reason
    final_dataclip_id: str | None = None
    withheld: bool = False
    mem: Count = 0
    duration: Count = 0
    cost: Cost = UNSET
    error_type: str | None = None
    error_message: str | None = None
    error: StepError | None = None
    final_state: OptionalDataclip = None

    def __post_init__(self) -> None:
        if self.error is not None:
            _copy_error(self, self.error)
        if isinstance(self.final_state, Raw):
            force_setattr(self, "final_state", _dataclip(self.final_state))

    @property
    def status(self) -> Status:
        """The status that the run has ended with."""
        return STATUS_OF_REASON[self.reason]


AnyEvent: TypeAlias = RunStart | StepStart | RunLog | StepComplete | RunComplete

DATACLIP_FIELDS: Final[Mapping[str, str]] = {
    "step:complete": "output_dataclip",
    "run:complete": "final_state",
}
"""The field that holds a dataclip, by the type of the event. It is written last."""

_TYPES: Final[dict[str, type[Event]]] = {
    str(kind.__struct_config__.tag): kind for kind in get_args(AnyEvent)
}


def _copy_error(event: StepComplete | RunComplete, error: StepError) -> None:
    # A consumer of OpenFn's events reads the flat fields; they cannot differ from the error.
    force_setattr(event, "error_type", error.type)
    force_setattr(event, "error_message", error.message)


def _dataclip(raw: Raw) -> Dataclip | None:
    text = str(raw, "utf-8")
    return None if text == "null" else Dataclip(text)


# --- encoding -------------------------------------------------------------------------------------


def _encode_dataclip(value: Any) -> Raw:
    if isinstance(value, Dataclip):
        return Raw(value.text.encode())
    raise NotImplementedError(type(value))


# One encoder and one decoder for all events: creating them costs more than using them.
_encode = msgspec.json.Encoder(enc_hook=_encode_dataclip).encode


def to_json(event: AnyEvent) -> str:
    """Encode the event as one line of JSON, with the text of its dataclip as it is."""
    try:
        return _encode(event_fields(event) if _has_error(event) else event).decode()
    except UnicodeEncodeError:
        return _escaped(event)


def _has_error(event: AnyEvent) -> bool:
    # Not isinstance() of a union, which takes longer than the encoding of most events.
    return getattr(event, "error", None) is not None


def event_fields(event: AnyEvent) -> dict[str, Any]:
    """Convert the event to JSON data, but for its :class:`Dataclip`, which stays one."""
    set_fields = {name: value for name, value in asdict(event).items() if value is not UNSET}
    fields: dict[str, Any] = {"type": event.type, **set_fields}
    if _has_error(event):
        fields["error"] = error_to_dict(fields["error"])
    return fields


def _escaped(event: AnyEvent) -> str:
    # Half of a surrogate pair has no UTF-8 form, which msgspec rejects; json can escape it.
    fields = event_fields(event)
    name = DATACLIP_FIELDS.get(event.type)
    if name is None:
        return dumps(fields)
    dataclip = fields.pop(name)
    return f'{dumps(fields)[:-1]},"{name}":{dataclip.text if dataclip else "null"}}}'


def dataclip_of(event: AnyEvent) -> Dataclip | None:
    """Return the dataclip that the event carries, if any."""
    match event:
        case StepComplete():
            return event.output_dataclip
        case RunComplete():
            return event.final_state
        case _:
            return None


def dataclip_id_of(event: AnyEvent) -> str | None:
    match event:
        case StepComplete():
            return event.output_dataclip_id
        case RunComplete():
            return event.final_dataclip_id
        case _:
            return None


def cost_of(event: StepComplete | RunComplete) -> int | None:
    """Read the instructions that an execution or a run took; ``None`` if not counted."""
    return None if event.cost is UNSET else event.cost


def with_dataclip(event: AnyEvent, dataclip: Dataclip | None) -> AnyEvent:
    """Replace the dataclip of an event; an event without a field for one stays as it is."""
    match event:
        case StepComplete():
            return replace(event, output_dataclip=dataclip)
        case RunComplete():
            return replace(event, final_state=dataclip)
        case _:
            return event


# --- decoding -------------------------------------------------------------------------------------

_decode = cast("msgspec.json.Decoder[AnyEvent]", msgspec.json.Decoder(AnyEvent)).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_ERROR_CHARACTERS = 300
_TOKENS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]')


def decode_event(text: str | bytes) -> AnyEvent:
    """Decode a line of JSON.

    Raises ``ValueError`` for anything else, with the path of the field that is wrong. Unknown
    types and fields are errors. See :func:`decode_leniently` for lines of other versions.
    """
    try:
        return _decode(text)
    except RecursionError:
        return _decode_deep(text)
    except msgspec.ValidationError as error:
        raise _not_an_event(error) from error
    except (msgspec.DecodeError, UnicodeEncodeError):
        return _decode_surrogates(text)


def decode_leniently(text: str | bytes) -> AnyEvent | None:
    """Decode a line of JSON that another version may have written.

    Unknown fields are left out, and an unknown type of event gives ``None``. Errors that name
    their step in ``step_id`` and have no ``job_id``, as the first recordings do, get today's ids.
    Raises ``ValueError`` for anything else.
    """
    try:
        event = decode_event(text)
    except ValueError:
        known = _without_unknown(text)
        if known is None:
            return None
        event = decode_event(known)
    if isinstance(event, StepComplete | RunComplete) and event.error is not None:
        return replace(event, error=_with_job_id(event.error))
    return event


def from_fields(fields: Mapping[str, Any], dataclip: str | None = None) -> AnyEvent:
    """Validate JSON data as an event; ``dataclip`` is the text of its dataclip, which is no field.

    Raises ``ValueError`` as :func:`decode_event` does.
    """
    # Not convert() to the union: it would analyse the union anew in every call.
    kind = _TYPES.get(str(fields.get("type")))
    if kind is None:
        raise _not_an_event(ValueError(f"unknown type {fields.get('type')!r} - at `$.type`"))
    try:
        event = cast("AnyEvent", msgspec.convert(fields, kind))
    except msgspec.ValidationError as error:
        raise _not_an_event(error) from error
    name = DATACLIP_FIELDS.get(event.type)
    if dataclip is not None and name is not None:
        # In place, as nobody else has the event yet: a copy costs as much as the conversion.
        force_setattr(event, name, Dataclip(dataclip))
    return event


def _not_an_event(error: Exception) -> ValueError:
    text = str(error)
    # It quotes a value of any length, and ends with its place.
    cut = text if len(text) <= _ERROR_CHARACTERS else f"{text[:200]} … {text[-80:]}"
    return ValueError(f"not an event of a run: {cut}")


def _decode_surrogates(text: str | bytes) -> AnyEvent:
    # msgspec rejects the escape of half a surrogate pair, which JavaScript's strings may hold.
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _not_an_event(error) from error
    if not isinstance(fields, dict):
        raise _not_an_event(TypeError("expected an object"))
    name = DATACLIP_FIELDS.get(str(fields.get("type")), "")
    dataclip = fields.pop(name, None)
    return from_fields(fields, None if dataclip is None else dumps(dataclip))


def _decode_deep(text: str | bytes) -> AnyEvent:
    # A state may be nested more deeply than any parser goes. It is the last field, so that it can
    # be cut out as text.
    line = text if isinstance(text, str) else text.decode()
    names = [f'"{name}"' for name in DATACLIP_FIELDS.values()]
    depth = 0
    for token in _TOKENS.finditer(line):
        if depth == 1 and token[0] in names:
            head = f"{line[: token.start()].rstrip().rstrip(',')}}}"
            dataclip = line[token.end() :].strip().removeprefix(":").removesuffix("}")
            try:
                return with_dataclip(_decode(head), Dataclip(dataclip))
            except (msgspec.DecodeError, RecursionError) as error:
                raise _not_an_event(error) from error
        depth += (token[0] in "[{") - (token[0] in "]}")
    raise _not_an_event(RecursionError("nested too deeply"))


def _without_unknown(text: str | bytes) -> str | bytes | None:
    """Remove the fields that the event's type does not have; ``None`` for an unknown type."""
    try:
        fields = _decode_fields(text)
        type = msgspec.json.decode(fields["type"], type=str)
    except (msgspec.DecodeError, UnicodeError, KeyError, RecursionError):
        return text
    if type not in _TYPES:
        return None
    names = ("type", *_TYPES[type].__struct_fields__)
    return msgspec.json.encode({name: fields[name] for name in names if name in fields})


# The causes of an error were written in the same way, and with the same meaning.
def _with_job_id(error: StepError) -> StepError:
    cause = None if error.cause is None else _with_job_id(error.cause)
    if error.job_id is None:
        return replace(error, job_id=error.step_id, step_id=None, cause=cause)
    return replace(error, cause=cause)
