"""The events of a run, in their order: typed facts that every sink receives.

``run:start`` · per execution of a step: ``step:start``, ``run:log``*, ``step:complete`` ·
``run:complete``, exactly once and always last. ``seq`` counts a run's events from 0 without a
gap; ``timestamp`` is in microseconds since the epoch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from worker.core.outcome import Position, StepError
from worker.core.status import STATUS_OF_REASON, Status
from worker.util.json import dumps


class Dataclip:
    """A state as JSON text, parsed only when somebody looks at it."""

    __slots__ = ("_value", "text")

    def __init__(self, text: str) -> None:
        self.text = text

    @classmethod
    def of(cls, value: Any) -> Dataclip:
        return cls(dumps(value))

    @property
    def value(self) -> Any:
        """The state as Python objects. Raises ``RecursionError`` on one nested too deeply."""
        if not hasattr(self, "_value"):
            self._value = json.loads(self.text)
        return self._value

    def __eq__(self, other: object) -> bool:
        """Equal as JSON: a number may be spelled in more than one way."""
        if not isinstance(other, Dataclip):
            return NotImplemented
        return self.text == other.text or bool(self.value == other.value)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Dataclip({self.text[:80]!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What all events carry."""

    type: ClassVar[str]
    run_id: str
    seq: int
    timestamp: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStart(Event):
    """The run's process has begun; ``versions`` names what runs it."""

    type: ClassVar[str] = "run:start"
    workflow: str
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStart(Event):
    """One execution of a step begins. ``step_id`` is a UUID for this execution alone;
    ``execution`` counts the job's executions in this run from 0."""

    type: ClassVar[str] = "step:start"
    step_id: str
    job_id: str
    job_name: str
    input_dataclip_id: str
    execution: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLog(Event):
    """A log line. ``source``: JOB (console), ADA (adaptor), R/T (runtime), CMP (compiler),
    VER (versions). ``level``: debug, info, warn, error. Empty ids: outside of a step."""

    type: ClassVar[str] = "run:log"
    source: str
    level: str
    message: str
    step_id: str = ""
    job_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepComplete(Event):
    """One execution of a step has ended.

    ``reason``: success, fail, crash, kill, cancel, exception. ``output_dataclip`` is ``None``
    where the step returned nothing, was aborted, or the output is over the payload limit
    (``withheld``: the next step still receives it). ``next`` are the jobs that its edges
    selected; ``mem`` is the run's peak resident memory so far, in bytes; ``duration`` is in
    microseconds.
    """

    type: ClassVar[str] = "step:complete"
    step_id: str
    job_id: str
    reason: str
    error: StepError | None = None
    output_dataclip_id: str | None = None
    output_dataclip: Dataclip | None = None
    withheld: bool = False
    next: tuple[str, ...] = ()
    mem: int = 0
    duration: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunComplete(Event):
    """The run has ended, with the same ``reason`` words as a step. ``final_state`` is ``None``
    where there is none, or where it is over the payload limit (``withheld``)."""

    type: ClassVar[str] = "run:complete"
    reason: str
    error: StepError | None = None
    final_dataclip_id: str | None = None
    final_state: Dataclip | None = None
    withheld: bool = False
    mem: int = 0
    duration: int = 0

    @property
    def status(self) -> Status:
        return STATUS_OF_REASON[self.reason]


AnyEvent = RunStart | StepStart | RunLog | StepComplete | RunComplete

_KINDS: dict[str, type[AnyEvent]] = {
    kind.type: kind for kind in (RunStart, StepStart, RunLog, StepComplete, RunComplete)
}
_CLIPS = ("output_dataclip", "final_state")


def to_json(event: AnyEvent) -> str:
    """The event as one line of JSON. Dataclips stand in it as they are, without parsing them."""
    return encode(event_fields(event), event_clip(event))


def event_fields(event: AnyEvent) -> dict[str, Any]:
    """The event as plain data, less its dataclip; the error flattened as OpenFn's wire has it."""
    fields: dict[str, Any] = {"type": event.type}
    for name in event.__dataclass_fields__:
        if name != "type" and name not in _CLIPS:
            fields[name] = getattr(event, name)
    if "error" in fields:
        error = fields.pop("error")
        fields["error_type"] = error.type if error else None
        fields["error_message"] = error.message if error else None
        fields["error"] = error_to_dict(error) if error else None
    return fields


def event_clip(event: AnyEvent) -> tuple[str, Dataclip | None] | None:
    """The name and the content of the event's dataclip, for the types that carry one."""
    match event:
        case StepComplete():
            return "output_dataclip", event.output_dataclip
        case RunComplete():
            return "final_state", event.final_state
        case _:
            return None


def encode(fields: Mapping[str, Any], clip: tuple[str, Dataclip | None] | None) -> str:
    """One JSON object of the fields, with the dataclip's text embedded as it is."""
    text = dumps(fields)
    if clip is None:
        return text
    name, content = clip
    return f'{text[:-1]},"{name}":{content.text if content else "null"}}}'


def error_to_dict(error: StepError) -> dict[str, Any]:
    """A :class:`StepError` as JSON data, without its empty fields."""
    fields: dict[str, Any] = {"type": error.type, "message": error.message}
    for name in ("name", "source", "step_id", "stack"):
        if value := getattr(error, name):
            fields[name] = value
    if error.position:
        place = error.position
        fields["position"] = {
            "line": place.line,
            "column": place.column,
            "source_line": place.source_line,
        }
    if error.details:
        fields["details"] = dict(error.details)
    if error.cause:
        fields["cause"] = error_to_dict(error.cause)
    return fields


def error_from_dict(fields: Mapping[str, Any]) -> StepError:
    """The reverse of :func:`error_to_dict`."""
    position, cause = fields.get("position"), fields.get("cause")
    return StepError(
        type=fields["type"],
        message=fields["message"],
        name=fields.get("name", ""),
        source=fields.get("source", "runtime"),
        step_id=fields.get("step_id"),
        position=Position(**position) if position else None,
        stack=tuple(fields.get("stack", ())),
        details=fields.get("details", {}),
        cause=error_from_dict(cause) if cause else None,
    )


def from_dict(fields: Mapping[str, Any]) -> AnyEvent:
    """An event from parsed JSON, as a journal holds it. Raises ``ValueError`` on anything else."""
    try:
        kind = _KINDS[fields["type"]]
        values = {name: fields[name] for name in kind.__dataclass_fields__ if name in fields}
        values.pop("type", None)
        if values.get("error"):
            values["error"] = error_from_dict(values["error"])
        if "next" in values:
            values["next"] = tuple(values["next"])
        for name in _CLIPS:
            if not isinstance(values.get(name), Dataclip | None):
                values[name] = Dataclip.of(values[name])
        return kind(**values)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not an event of a run: {error}") from error
