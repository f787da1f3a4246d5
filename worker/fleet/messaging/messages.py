"""The message types: decoding validates, so handlers see valid messages only.

JSON. Times are in microseconds since the epoch. The events of a run have the same form in reports
as in a journal.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from worker.core.events import (
    AnyEvent,
    RunComplete,
    StepComplete,
    StepStart,
    decode_event,
    decode_leniently,
    to_json,
)
from worker.util.nesting import ENVELOPE_LEVELS, NESTING_LIMIT, nests_deeper
from worker.workflow.limit_ranges import RANGES
from worker.workflow.order_retry import OrderRetry

# ``$`` alone would match before a newline at the end.
_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}(?!\n)$")
Id = Annotated[str, Meta(pattern=_ID.pattern)]
"""An id or a name: one level of a topic."""
# PostgreSQL has no text with a NUL in it.
WITHOUT_NUL = r"^[^\x00]*$"
Label = Annotated[str, Meta(min_length=1, max_length=200, pattern=WITHOUT_NUL)]
Tag = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\s\x00]*(?!\n)$")]
"""A word by which orders are searched."""
Text = Annotated[str, Meta(max_length=100_000)]
Count = Annotated[int, Meta(ge=0, le=2**53)]

NULL = Raw(b"null")

StatusName = Literal[
    "pending", "running", "success", "failed", "crashed", "cancelled", "killed", "exception",
    "lost", "rejected",
]  # fmt: skip


class WireError(ValueError):
    """A message that does not match its type."""


PROTOCOL = 1
"""The version of these messages. A field may be added in it; all else needs the next version."""


class Payload(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The base of all message types. Unknown fields are ignored: a newer peer may send them."""


T = TypeVar("T")


def decode(type: type[T], payload: bytes) -> T:
    """Decode a message. Raises :class:`WireError`, with the place of what does not match."""
    # Before anything decodes it: the content is as trusted as whoever sent it.
    if nests_deeper(payload, NESTING_LIMIT + ENVELOPE_LEVELS):
        raise WireError("nested too deeply")
    try:
        payload.decode()  # msgspec does not check the encoding of Raw fields
        return _decoder(type).decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise WireError(str(error)) from error
    except RecursionError as error:
        raise WireError("nested too deeply") from error


# A decoder is built once for each type: to build one for each message would be slow.
_DECODERS: dict[Any, Any] = {}


def _decoder(type: type[T]) -> msgspec.json.Decoder[T]:
    if type not in _DECODERS:
        _DECODERS[type] = msgspec.json.Decoder(type)
    decoder: msgspec.json.Decoder[T] = _DECODERS[type]
    return decoder


encode = msgspec.json.Encoder().encode


def well_formed(text: str) -> str:
    """Replace lone surrogates in JSON text, which many readers reject, by question marks."""
    if "\\ud" not in text and "\\uD" not in text:
        return text
    return json.dumps(json.loads(text), ensure_ascii=False).encode("utf-8", "replace").decode()


# --- content in chunks ----------------------------------------------------------------------------


ContentHash = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}(?!\n)$")]
"""The SHA-256 of a content."""


class ContentRef(Payload, frozen=True):
    """A content that is too large for a message, and was sent in chunks before."""

    hash: ContentHash
    size: Count


class Chunk(Payload, frozen=True):
    """A part of a content, in base64, from the byte ``offset`` on."""

    content: ContentRef
    offset: Count
    data: bytes


class ChunkStored(Payload, frozen=True, tag="stored"):
    """The response to a chunk. A text in ``refused`` means that the content is not taken, and why.

    Chunks are stored for an hour; what refers to the content comes before that.
    """

    hash: ContentHash
    offset: Count
    refused: str = ""


class MissingContent(Payload, frozen=True, tag="missing"):
    """Contents that a message refers to and that are not stored: their chunks are sent again."""

    hashes: list[ContentHash]


class Echo(Payload, frozen=True):
    """A message of a control plane to itself.

    ``sent_us`` is its time in microseconds since the epoch. By ``token``, a new one for each
    message, it knows its own ones.
    """

    token: str
    sent_us: int


# --- workers to the control plane -----------------------------------------------------------------


class Presence(Payload, frozen=True):
    """The presence of a worker or a control plane; its will has ``online`` false.

    ``incarnation`` is a new id for each start of the process, ``protocol`` the version of its
    messages: 0 are those before versions, which no other version mixes with. A worker is placed by
    its ``labels``, the names of its ``credentials``, and the ``adaptors`` that are installed there.
    ``succeeds`` is the incarnation whose outbox it has taken over, and which has therefore ended.
    """

    incarnation: Id
    online: bool
    capacity: Annotated[int, Meta(ge=0, le=100_000)] = 0
    draining: bool = False
    version: Annotated[str, Meta(max_length=64, pattern=WITHOUT_NUL)] = ""
    labels: Annotated[tuple[Id, ...], Meta(max_length=100)] = ()
    credentials: Annotated[tuple[Label, ...], Meta(max_length=10_000)] | None = None
    adaptors: Annotated[tuple[Label, ...], Meta(max_length=10_000)] | None = None
    host: Annotated[str, Meta(max_length=200, pattern=WITHOUT_NUL)] = ""
    protocol: Annotated[int, Meta(ge=0, le=1000)] = 0
    succeeds: Id | None = None


class Claim(Payload, frozen=True):
    """A claim for up to ``demand`` runs.

    ``repeated``: it was sent before, and no response came in time. It is assigned the same runs
    again then, which it is not as long as the first response may be on its way: several control
    planes receive each claim, and a worker demands more under the same ``claim_id``.
    """

    claim_id: Id
    demand: Annotated[int, Meta(ge=0, le=1000)]
    incarnation: Id
    protocol: Annotated[int, Meta(ge=0, le=1000)] = 0
    repeated: bool = False


class Lease(Payload, frozen=True):
    """The permission to run one attempt of a run; ``token`` proves it."""

    run_id: Id
    attempt: Annotated[int, Meta(ge=1, le=10_000)]
    token: Annotated[str, Meta(min_length=8, max_length=64)]


class StartRequest(Payload, frozen=True):
    """The leases of claimed runs that the worker is about to execute.

    It executes none before :class:`Starts` confirms it, and repeats the request until then.
    """

    incarnation: Id
    leases: Annotated[list[Lease], Meta(min_length=1, max_length=10_000)]


class Heartbeat(Payload, frozen=True):
    """The leases that a worker renews."""

    incarnation: Id
    leases: Annotated[list[Lease], Meta(max_length=10_000)]


class Release(Payload, frozen=True):
    """The leases of runs that the worker did not start, and will not.

    ``aborted`` are those of runs that it started and cut short, as it was stopped; ``reason`` is
    why it did not wait for their end.
    """

    incarnation: Id
    leases: Annotated[list[Lease], Meta(max_length=10_000)]
    aborted: Annotated[list[Lease], Meta(max_length=10_000)] = []
    reason: Annotated[str, Meta(max_length=200, pattern=WITHOUT_NUL)] = ""


class Fetch(Payload, frozen=True):
    """A request for a part of the plan or the input of a leased run, from ``offset`` on."""

    lease: Lease
    part: Literal["plan", "input"]
    offset: Count


class RunReport(Payload, frozen=True):
    """Events of one run, in order, in the form of a journal.

    An event that is too large for a message is a ``content``, and alone in its report.
    """

    lease: Lease
    events: Annotated[list[Raw], Meta(max_length=10_000)] = []
    content: ContentRef | None = None


class Reports(Payload, frozen=True):
    """Events of several runs. The acknowledgement has the same ``number``."""

    number: Count
    runs: Annotated[list[RunReport], Meta(min_length=1, max_length=1000)]


def decode_reported(text: bytes) -> tuple[AnyEvent, bytes]:
    """Return an event of a report, and its text without the fields that only a newer worker knows.

    Raises :class:`WireError` with the path of what is wrong. The ids of dataclips become keys of
    the store, and are stricter here than in a journal. A worker's clock is a real one, and no
    worker reports a run as lost.
    """
    try:
        event = decode_event(text)
    except ValueError as error:
        event, text = _decode_newer(text, error)
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
    return event, text


def _decode_newer(text: bytes, error: ValueError) -> tuple[AnyEvent, bytes]:
    try:
        event = decode_leniently(text)
    except ValueError:
        event = None
    if event is None:
        raise WireError(str(error)) from error
    return event, to_json(event).encode()


def is_id(text: str) -> bool:
    """Return whether a text can be an id."""
    return _ID.match(text) is not None


def _check_id(field: str, id: str | None) -> None:
    if id is not None and not is_id(id):
        raise WireError(f"invalid id {id[:80]!r} - at `$.{field}`")


# --- the control plane to workers -----------------------------------------------------------------


class RunOptions(Payload, frozen=True):
    """The options of an order. Its limits are capped by those of the worker.

    With ``record`` the requests of its runs are kept, for a recording of each.
    """

    start: Annotated[str, Meta(max_length=1000)] = ""
    end: Annotated[str, Meta(max_length=1000)] = ""
    timeout_s: float | None = None
    memory_mb: float | None = None
    state_mb: float | None = None
    payload_mb: float | None = None
    log_payload_mb: float | None = None
    executions: float | None = None
    events_mb: float | None = None
    fuel: float | None = None
    record: bool = False

    def limits(self) -> dict[str, float | None]:
        """Return the requested limits, by the fields of :class:`Limits`."""
        fields = msgspec.structs.asdict(self)
        return {name: fields[name] for name in RANGES if name in fields}


class AssignedRun(Payload, frozen=True):
    """A run that is leased to the worker.

    ``plan`` is the workflow as a plan, ``input`` a state. Each is ``null`` where it is to be
    fetched: a plan that was sent before, and what is too large for the message. ``plan_id`` is the
    beginning of the plan's SHA-256. ``payload_limit`` is the size of the largest event in bytes.
    """

    lease: Lease
    lease_s: float
    payload_limit: int
    order_id: Id
    plan_id: Id
    plan: Raw = msgspec.field(default_factory=lambda: NULL)
    input: Raw = msgspec.field(default_factory=lambda: NULL)
    options: RunOptions = RunOptions()


class Fetched(Payload, frozen=True, tag="fetched"):
    """The response to :class:`Fetch`: a chunk of the plan or input of a run."""

    run_id: Id
    attempt: int
    part: Literal["plan", "input"]
    chunk: Chunk


class Assignment(Payload, frozen=True, tag="runs"):
    """The response to a claim."""

    claim_id: Id
    runs: list[AssignedRun]


class Attempt(Payload, frozen=True):
    """One attempt of a run. A worker may still run an older one whose lease has expired.

    A run that was handed back keeps its attempt: with ``token`` one lease of it is meant, and a
    worker that has another one ignores what concerns this one.
    """

    run_id: Id
    attempt: int
    token: str = ""


def attempt_of(lease: Lease) -> Attempt:
    """Return what names one lease in a response."""
    return Attempt(run_id=lease.run_id, attempt=lease.attempt, token=lease.token)


def concerns(attempt: Attempt, lease: Lease) -> bool:
    """Return whether a response about an attempt is about a lease."""
    return attempt.token in ("", lease.token)


class Starts(Payload, frozen=True, tag="starts"):
    """The response to a request to start runs. A repeated request gets the same response.

    Those in ``started`` are running and belong to the worker until they end. Those in ``refused``
    are leased to it no more, or cancelled: it must not execute them.
    """

    started: list[Attempt] = []
    refused: list[Attempt] = []


class Ack(Payload, frozen=True):
    """The acknowledgement of a run's events up to ``upto``; -1: none.

    A text in ``refused`` means that no further events of the run are accepted, and why. With
    ``set_aside`` the reason is their content: the worker stores them apart, and reports the run's
    end as exception.
    """

    run_id: Id
    attempt: int
    upto: int
    refused: str = ""
    set_aside: bool = False


class Acks(Payload, frozen=True, tag="acks"):
    """The response to reports.

    A text in ``refused`` means that the whole message cannot be read, and why: the worker sends its
    runs one by one, and sets that one aside which is refused alone.
    """

    number: Count
    acks: list[Ack]
    refused: str = ""


# The first field of a report's message, which can be read where the rest cannot.
_NUMBER = re.compile(rb'\{"number":(\d{1,15})[,}]')


def report_number(payload: bytes) -> int | None:
    """Return the number of a message of reports that cannot be decoded, if it is there."""
    match = _NUMBER.match(payload[:64])
    return int(match[1]) if match else None


Response = Assignment | Starts | Acks | Fetched | ChunkStored | MissingContent


class NameRefusal(Payload, frozen=True):
    """The name of ``incarnation`` is held by another one, the ``holder``, ``since`` a time."""

    incarnation: Id
    holder: Id
    host: str
    since: int


class Command(Payload, frozen=True):
    """A command to a worker: stop runs and report them, or stop them without reports.

    It deletes all that it has of the runs in ``erase``.
    ``refused``: an incarnation may not use the name, and claims no runs until it may.
    ``outdated`` means that the worker's protocol is not that of the control plane, and what to do.
    """

    cancel: list[Attempt] = []
    abandon: list[Attempt] = []
    erase: list[Id] = []
    refused: NameRefusal | None = None
    outdated: str = ""


# --- clients --------------------------------------------------------------------------------------


class Submit(Payload, frozen=True):
    """A work order, for the name of a registered workflow or for a plan.

    The client chooses ``order_id``; it is the idempotency key of the request. The same id with the
    same content gets the order as it is; with other content it is a conflict. An order that was
    rejected is submitted again. Without an id, the same content within a minute is one order. A
    publisher that needs no reply sends no response topic: the state of the order is on its topic.
    An order that is too large for a message is a ``content``, which is such an order as JSON.

    The order does not begin before ``not_before``, and is rejected where it has not by
    ``start_by``. At most one order of a project with the same ``unique`` key waits or runs: a newer
    one replaces one that waits, and is rejected while one runs. With ``over_limit: queue`` it waits
    instead of being rejected, here and at the limits of its project. ``retry`` is its retry policy.
    It runs on workers that have all the labels of ``placement``.
    """

    content: ContentRef | None = None
    order_id: Id = ""
    workflow: Label | None = None
    plan: Raw = msgspec.field(default_factory=lambda: NULL)
    input: Raw = msgspec.field(default_factory=lambda: Raw(b"{}"))
    project: Id = "default"
    priority: Annotated[int, Meta(ge=-100, le=100)] = 0
    options: RunOptions = RunOptions()
    not_before: Count | None = None
    start_by: Count | None = None
    unique: Label | None = None
    over_limit: Literal["reject", "queue"] | None = None
    tags: Annotated[tuple[Tag, ...], Meta(max_length=50)] = ()
    retry: OrderRetry | None = None
    placement: Annotated[tuple[Id, ...], Meta(max_length=100)] = ()


class OrderQuery(Payload, frozen=True):
    """A query for orders, newest first; those created from ``since`` on and before ``until``.

    For the next page ``before`` is the last order's ``created`` time and ``beyond`` its id. The
    reply to a ``partial`` query has the ``items`` of a part of the orders, and in ``next`` the
    place where the next part begins, null after the last one.
    """

    status: StatusName | None = None
    project: Id | None = None
    workflow: Label | None = None
    tag: Tag | None = None
    since: Count | None = None
    until: Count | None = None
    search: Annotated[str, Meta(max_length=200, pattern=WITHOUT_NUL)] = ""
    before: Count | None = None
    beyond: Id | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50
    partial: bool = False


class RunQuery(OrderQuery, frozen=True):
    """A query for runs, newest first, by their own fields instead of those of their orders.

    For the next page ``before`` is the last run's ``created`` time and ``beyond`` its id.
    """


class CountQuery(OrderQuery, frozen=True, kw_only=True):
    """A query for how many orders or runs match, counted up to ``at_most``; of all pages."""

    of: Literal["orders", "runs"] = "orders"
    # An unbounded count of a large database would hold up the fleet.
    at_most: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000


class OrderRef(Payload, frozen=True):
    """A reference to an order."""

    order_id: Id


class RunRef(Payload, frozen=True):
    """A reference to a run, or to the last run of an order."""

    id: Id


class EventQuery(Payload, frozen=True):
    """A query for the events of a run after number ``after``; with dataclips if ``clips``."""

    run_id: Id
    after: Annotated[int, Meta(ge=-1, le=2**53)] = -1
    limit: Annotated[int, Meta(ge=1, le=1000)] = 500
    clips: bool = False


class DataclipRef(Payload, frozen=True):
    """A reference to the output of a step, or to the final state, of a run."""

    run_id: Id
    dataclip_id: Id


class RecordedQuery(Payload, frozen=True):
    """A query for the first lines of a recording that came after the event ``after``."""

    run_id: Id
    after: Annotated[int, Meta(ge=-1, le=2**53)] = -1


class RetryRequest(Payload, frozen=True):
    """A request to run an order again: from the start, or from a step with its recorded input.

    The client chooses ``run_id``; it is the idempotency key of the request. With ``latest`` the
    workflow is the one that the control plane knows by now, else that of the run before.
    """

    id: Id
    run_id: Id
    from_step: Annotated[str, Meta(min_length=1, max_length=1000, pattern=WITHOUT_NUL)] | None = (
        None
    )
    latest: bool = False


class Empty(Payload, frozen=True):
    """A request without arguments."""


class WorkflowQuery(Payload, frozen=True):
    """A query for the names of the workflows that orders can name.

    With ``keys`` each workflow comes once, as an object with its name and the other names of it.
    """

    keys: bool = False


class Failure(Payload, frozen=True):
    """The failure of a request.

    ``code``: invalid, unknown, conflict, rejected, too_large, denied.
    """

    code: str
    message: str


class Reply(Payload, frozen=True):
    """The reply to a request: a result, or a failure.

    A result that is too large for a message comes in chunks, each in a reply of its own.
    """

    ok: Raw = msgspec.field(default_factory=lambda: NULL)
    error: Failure | None = None
    chunk: Chunk | None = None


REQUESTS: dict[str, type[Any]] = {
    "submit": Submit,
    "chunk": Chunk,
    "cancel": RunRef,
    "retry": RetryRequest,
    "orders": OrderQuery,
    "order": OrderRef,
    "runs": RunQuery,
    "count": CountQuery,
    "run": RunRef,
    "input": RunRef,
    "events": EventQuery,
    "dataclip": DataclipRef,
    "recorded": RecordedQuery,
    "workers": Empty,
    "alerts": Empty,
    "summary": Empty,
    "workflows": WorkflowQuery,
}
"""The requests of clients, by the last level of their topic."""
FROM_WORKERS: dict[str, type[Any]] = {
    "status": Presence,
    "claim": Claim,
    "start": StartRequest,
    "reports": Reports,
    "beat": Heartbeat,
    "release": Release,
    "fetch": Fetch,
    "chunk": Chunk,
}
"""The messages of workers, by the last level of their topic."""


# --- public messages ------------------------------------------------------------------------------


class RunState(Payload, frozen=True, omit_defaults=False):
    """The state of a run, retained. A state with a lower ``revision`` than one before is old.

    A run is not leased before ``not_before``, and rejected where it has not started by
    ``start_by``; ``retries`` counts the automatic retries in a row that led to it. ``started`` and
    ``finished`` are by the clock of the worker where it has reported them. ``skew`` is how many
    microseconds that clock was ahead of the control plane's, if a second or more.
    """

    run_id: Id
    order_id: Id
    number: int
    project: Id
    workflow: str
    status: StatusName
    attempt: int
    priority: int
    created: int
    worker: str | None = None
    started: int | None = None
    finished: int | None = None
    start: str | None = None
    error_type: str | None = None
    error_message: str | None = None
    skew: int | None = None
    revision: int = 0
    not_before: int | None = None
    start_by: int | None = None
    retries: int = 0


class OrderState(Payload, frozen=True, omit_defaults=False):
    """The state of an order: that of its last run. ``unique`` is its key, if it has one.

    ``erased`` is when its states and logs were deleted.
    ``revision`` is as that of a run.
    """

    order_id: Id
    project: Id
    workflow: str
    status: StatusName
    priority: int
    created: int
    runs: int
    reason: str | None = None
    last_run: str | None = None
    unique: str | None = None
    tags: list[str] = []
    erased: int | None = None
    revision: int = 0


class Alert(Payload, frozen=True, omit_defaults=False):
    """An alert: a run that ended as exception or lost."""

    run_id: Id
    order_id: Id
    project: Id
    workflow: str
    status: StatusName
    at: int
    error_type: str | None = None
    error_message: str | None = None
    worker: str | None = None


class RunEvents(Payload, frozen=True):
    """Accepted events of a run, in order, without their dataclips."""

    run_id: Id
    attempt: int
    events: list[Raw]
