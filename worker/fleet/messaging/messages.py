"""The messages, each with its shape: what does not fit is refused before anybody acts on it.

JSON, as flat as it can be. Times are in microseconds since the epoch. The events of a run stand in
reports as they stand in a journal.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from worker.core.events import AnyEvent, RunComplete, StepComplete, StepStart, decode_event

_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}(?!\n)$")
Id = Annotated[str, Meta(pattern=_ID.pattern)]
"""An id or a name: one level of a topic. (``$`` alone would let a line end follow.)"""
WITHOUT_NUL = r"^[^\x00]*$"
"""PostgreSQL has no text with a NUL in it."""
Label = Annotated[str, Meta(min_length=1, max_length=200, pattern=WITHOUT_NUL)]
Text = Annotated[str, Meta(max_length=100_000)]
Count = Annotated[int, Meta(ge=0, le=2**53)]

NULL = Raw(b"null")

StatusWord = Literal[
    "pending", "running", "success", "failed", "crashed", "cancelled", "killed", "exception",
    "lost", "rejected",
]  # fmt: skip


class WireError(ValueError):
    """A message that is none of ours."""


class Payload(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What all messages have in common: nothing unknown stands in them."""


T = TypeVar("T")


def decode(shape: type[T], payload: bytes) -> T:
    """A message of a shape. Raises :class:`WireError`, which says what does not fit and where."""
    try:
        payload.decode()  # what is kept as it is (Raw) must be text too
        return _decoder(shape).decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise WireError(str(error)) from error
    except RecursionError as error:
        raise WireError("nested too deeply") from error


_DECODERS: dict[Any, Any] = {}


def _decoder(shape: type[T]) -> msgspec.json.Decoder[T]:
    if shape not in _DECODERS:
        _DECODERS[shape] = msgspec.json.Decoder(shape)
    found: msgspec.json.Decoder[T] = _DECODERS[shape]
    return found


encode = msgspec.json.Encoder().encode
"""A message as JSON."""


def well_formed(text: str) -> str:
    """JSON text that every reader takes: half of a surrogate pair becomes a question mark."""
    if "\\ud" not in text and "\\uD" not in text:
        return text
    return json.dumps(json.loads(text), ensure_ascii=False).encode("utf-8", "replace").decode()


# --- workers to the control plane -----------------------------------------------------------------


class Presence(Payload, frozen=True):
    """Who is there: the birth of a worker or of a control plane, and its will. ``incarnation``
    is new each time that the process starts."""

    incarnation: Id
    online: bool
    capacity: Annotated[int, Meta(ge=0, le=100_000)] = 0
    draining: bool = False
    version: Annotated[str, Meta(max_length=64, pattern=WITHOUT_NUL)] = ""


class Claim(Payload, frozen=True):
    """A worker has room for ``demand`` runs. Repeating a ``claim_id`` gives the same runs."""

    claim_id: Id
    demand: Annotated[int, Meta(ge=0, le=1000)]
    incarnation: Id


class Lease(Payload, frozen=True):
    """The right to run an attempt of a run; ``token`` proves it."""

    run_id: Id
    attempt: Annotated[int, Meta(ge=1, le=10_000)]
    token: Annotated[str, Meta(min_length=8, max_length=64)]


class Heartbeat(Payload, frozen=True):
    """These runs are alive."""

    incarnation: Id
    leases: Annotated[list[Lease], Meta(max_length=10_000)]


class Release(Payload, frozen=True):
    """These runs were not started, and will not be."""

    incarnation: Id
    leases: Annotated[list[Lease], Meta(max_length=10_000)]


class RunReport(Payload, frozen=True):
    """Events of one run, in order, as they stand in a journal."""

    lease: Lease
    events: Annotated[list[Raw], Meta(min_length=1, max_length=10_000)]


class Reports(Payload, frozen=True):
    """Events of some runs. ``number`` comes back with the acknowledgement."""

    number: Count
    runs: Annotated[list[RunReport], Meta(min_length=1, max_length=1000)]


def decode_reported(text: bytes) -> AnyEvent:
    """Return an event of a report. Raises :class:`WireError` with the path of what is wrong.

    The ids of dataclips become keys of the store, and are stricter here than in a journal. A
    worker's clock is a real one, and no worker reports a run as lost.
    """
    try:
        event = decode_event(text)
    except ValueError as error:
        raise WireError(str(error)) from error
    if event.timestamp < 0:
        raise WireError("expected a time after 1970 - at `$.timestamp`")
    match event:
        case StepStart():
            _check_id("input_dataclip_id", event.input_dataclip_id)
        case StepComplete():
            _check_id("output_dataclip_id", event.output_dataclip_id)
        case RunComplete():
            _check_id("final_dataclip_id", event.final_dataclip_id)
        case _:
            pass
    if isinstance(event, StepComplete | RunComplete) and event.reason == "lost":
        raise WireError("invalid reason 'lost' - at `$.reason`")
    return event


def _check_id(field: str, id: str | None) -> None:
    if id is not None and not _ID.match(id):
        raise WireError(f"invalid id {id[:80]!r} - at `$.{field}`")


# --- the control plane to workers -----------------------------------------------------------------


class RunOptions(Payload, frozen=True):
    """How an order is to be run, within what the worker allows."""

    start: Annotated[str, Meta(max_length=1000)] = ""
    end: Annotated[str, Meta(max_length=1000)] = ""
    timeout_s: Annotated[float, Meta(gt=0, le=86_400)] | None = None
    memory_mb: Annotated[int, Meta(ge=8, le=1_000_000)] | None = None
    state_mb: Annotated[float, Meta(gt=0, le=1_000_000)] | None = None
    payload_mb: Annotated[float, Meta(gt=0, le=1_000)] | None = None


class AssignedRun(Payload, frozen=True):
    """A run for the worker. ``plan`` is the workflow as an execution plan, ``input`` a state;
    ``payload_limit`` is how many bytes a message of reports may have."""

    lease: Lease
    lease_s: float
    payload_limit: int
    order_id: Id
    plan_id: Id
    plan: Raw
    input: Raw
    options: RunOptions


class Assignment(Payload, frozen=True, tag="runs"):
    """The answer to a claim."""

    claim_id: Id
    runs: list[AssignedRun]


class Ack(Payload, frozen=True):
    """The events of a run up to ``upto`` are kept; -1: none. ``refused`` says that no more of
    this run is wanted, and why."""

    run_id: Id
    attempt: int
    upto: int
    refused: str = ""


class Acks(Payload, frozen=True, tag="acks"):
    """The answer to reports."""

    number: Count
    acks: list[Ack]


Response = Assignment | Acks


class Attempt(Payload, frozen=True):
    """One attempt of a run: a worker can still have an older one that it was given up on."""

    run_id: Id
    attempt: int


class Command(Payload, frozen=True):
    """What a worker must do with runs that it has: stop them and say so, or forget them."""

    cancel: list[Attempt] = []
    abandon: list[Attempt] = []


# --- clients --------------------------------------------------------------------------------------


class Submit(Payload, frozen=True):
    """A work order. ``order_id`` is the client's, so that saying it twice makes one order. The
    workflow is named (one that the control plane knows) or given, as an execution plan."""

    order_id: Id
    workflow: Label | None = None
    plan: Raw = msgspec.field(default_factory=lambda: NULL)
    input: Raw = msgspec.field(default_factory=lambda: Raw(b"{}"))
    project: Id = "default"
    priority: Annotated[int, Meta(ge=-100, le=100)] = 0
    options: RunOptions = RunOptions()


class OrderQuery(Payload, frozen=True):
    """Which orders, newest first. For the next page ``before`` is the last order's ``created``
    time and ``beyond`` its id: orders that came together have the same time."""

    status: StatusWord | None = None
    project: Id | None = None
    workflow: Label | None = None
    search: Annotated[str, Meta(max_length=200, pattern=WITHOUT_NUL)] = ""
    before: Count | None = None
    beyond: Id | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50


class OrderRef(Payload, frozen=True):
    """One order."""

    order_id: Id


class RunRef(Payload, frozen=True):
    """One run, or the last run of an order."""

    id: Id


class EventQuery(Payload, frozen=True):
    """The events of a run after ``after``, without their dataclips unless ``clips``."""

    run_id: Id
    after: Annotated[int, Meta(ge=-1, le=2**53)] = -1
    limit: Annotated[int, Meta(ge=1, le=1000)] = 500
    clips: bool = False


class RetryRequest(Payload, frozen=True):
    """Run an order again: from the start, or from a step with its recorded input. ``run_id`` is
    the client's, so that saying it twice makes one run."""

    id: Id
    run_id: Id
    from_step: Annotated[str, Meta(min_length=1, max_length=1000, pattern=WITHOUT_NUL)] | None = (
        None
    )


class Empty(Payload, frozen=True):
    """A request without arguments."""


class Failure(Payload, frozen=True):
    """Why a request was not done. ``code``: invalid, unknown, conflict, rejected, too_large."""

    code: str
    message: str


class Reply(Payload, frozen=True):
    """The answer to a request: a result, or a failure."""

    ok: Raw = msgspec.field(default_factory=lambda: NULL)
    error: Failure | None = None


REQUESTS: dict[str, type[Any]] = {
    "submit": Submit,
    "cancel": RunRef,
    "retry": RetryRequest,
    "orders": OrderQuery,
    "order": OrderRef,
    "run": RunRef,
    "events": EventQuery,
    "workers": Empty,
    "alerts": Empty,
    "summary": Empty,
    "workflows": Empty,
}
"""The requests of clients, by the last level of their topic."""
FROM_WORKERS: dict[str, type[Any]] = {
    "status": Presence,
    "claim": Claim,
    "reports": Reports,
    "beat": Heartbeat,
    "release": Release,
}
"""What workers say, by the last level of the topic."""


# --- what everybody may hear ----------------------------------------------------------------------


class RunState(Payload, frozen=True, omit_defaults=False):
    """The state of a run, retained."""

    run_id: Id
    order_id: Id
    number: int
    project: Id
    workflow: str
    status: StatusWord
    attempt: int
    priority: int
    created: int
    worker: str | None = None
    started: int | None = None
    finished: int | None = None
    start: str | None = None
    error_type: str | None = None
    error_message: str | None = None


class OrderState(Payload, frozen=True, omit_defaults=False):
    """The state of an order: that of its last run."""

    order_id: Id
    project: Id
    workflow: str
    status: StatusWord
    priority: int
    created: int
    runs: int
    reason: str | None = None
    last_run: str | None = None


class Alert(Payload, frozen=True, omit_defaults=False):
    """What the superuser must see: a run that ended as exception or lost."""

    run_id: Id
    order_id: Id
    project: Id
    workflow: str
    status: StatusWord
    at: int
    error_type: str | None = None
    error_message: str | None = None
    worker: str | None = None


class RunEvents(Payload, frozen=True):
    """Events of a run that were accepted, in order, without their dataclips."""

    run_id: Id
    attempt: int
    events: list[Raw]
