"""The messages between workers and the control plane: claims, leases, reports and commands.

The events of a run have the same form in reports as in a journal.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw

from worker.core.events import (
    AnyEvent,
    RunComplete,
    StepComplete,
    StepStart,
    decode_event,
    decode_leniently,
    to_json,
)
from worker.fleet.messaging.messages import (
    NULL,
    WITHOUT_NUL,
    Attempts,
    Chunk,
    ChunkStored,
    ContentRef,
    Count,
    Id,
    Label,
    MissingContent,
    Payload,
    RunOptions,
    Time,
    WireError,
    is_id,
)

PROTOCOL = 1
"""The version of these messages. A field may be added in it; all else needs the next version."""
MAX_LEASES = 400
"""The most leases of a message, which the smallest usual packet of 128 kB has room for."""


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
    attempt: Attempts
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
    aborted: Annotated[list[Lease], Meta(max_length=10_000)] = msgspec.field(default_factory=list)
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
    events: Annotated[list[Raw], Meta(max_length=10_000)] = msgspec.field(default_factory=list)
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


def _check_id(field: str, id: str | None) -> None:
    if id is not None and not is_id(id):
        raise WireError(f"invalid id {id[:80]!r} - at `$.{field}`")


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


# --- the control plane to workers -----------------------------------------------------------------


class AssignedRun(Payload, frozen=True):
    """A run that is leased to the worker.

    ``plan`` is the workflow as a plan, ``input`` a state. Each is ``null`` where it is to be
    fetched: a plan that was sent before, and what is too large for the message. ``plan_id`` is the
    beginning of the plan's SHA-256. ``payload_limit`` is the size of the largest event in bytes.
    """

    lease: Lease
    lease_s: Annotated[float, Meta(gt=0, le=366 * 86_400)]
    payload_limit: Count
    order_id: Id
    plan_id: Id
    plan: Raw = msgspec.field(default_factory=lambda: NULL)
    input: Raw = msgspec.field(default_factory=lambda: NULL)
    options: RunOptions = RunOptions()


class Fetched(Payload, frozen=True, tag="fetched"):
    """The response to :class:`Fetch`: a chunk of the plan or input of a run."""

    run_id: Id
    attempt: Attempts
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
    attempt: Attempts
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

    started: list[Attempt] = msgspec.field(default_factory=list)
    refused: list[Attempt] = msgspec.field(default_factory=list)


class Ack(Payload, frozen=True):
    """The acknowledgement of a run's events up to ``upto``; -1: none.

    A text in ``refused`` means that no further events of the run are accepted, and why. With
    ``set_aside`` the reason is their content: the worker stores them apart, and reports the run's
    end as exception.
    """

    run_id: Id
    attempt: Attempts
    upto: Annotated[int, Meta(ge=-1, le=2**53)]
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
    since: Time


class Command(Payload, frozen=True):
    """A command to a worker: stop runs and report them, or stop them without reports.

    It deletes all that it has of the runs in ``erase``.
    ``refused``: an incarnation may not use the name, and claims no runs until it may.
    ``outdated`` means that the worker's protocol is not that of the control plane, and what to do.
    """

    cancel: list[Attempt] = msgspec.field(default_factory=list)
    abandon: list[Attempt] = msgspec.field(default_factory=list)
    erase: list[Id] = msgspec.field(default_factory=list)
    refused: NameRefusal | None = None
    outdated: str = ""
