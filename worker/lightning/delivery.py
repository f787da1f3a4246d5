"""Rules of delivery: what follows when an event of a run was accepted, refused or lost."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from worker.lightning.serializer import encode_json

LOG = "run:log"
BATCH = "run:batch_logs"
MAX_BATCH_LINES = 50
BATCH_WAIT_S = 0.01
_ALREADY_COMPLETE = "already in completed state"


class LogBatches(Struct, frozen=True, kw_only=True):
    """Batches of log lines: their most lines, and how long the first may wait for others."""

    lines: int = MAX_BATCH_LINES
    wait_s: float = BATCH_WAIT_S


class OutgoingEvent(Struct, frozen=True, kw_only=True):
    """Event for Lightning. ``payload`` is its fields; that of a log line has no run id yet.

    ``step_id`` is the step that a log line belongs to. ``uses`` is the dataclip that the event
    refers to, and ``makes`` the one that it creates: Lightning refuses an event that refers to a
    dataclip which never arrived.
    """

    event: str
    payload: dict[str, Any]
    step_id: str = ""
    uses: str = ""
    makes: str = ""

    @property
    def is_log(self) -> bool:
        return self.event == LOG


class Accepted(Struct, frozen=True):
    """The server replied ``ok``."""


class Refused(Struct, frozen=True):
    """The server replied with an error."""

    response: Any


class Unanswered(Struct, frozen=True):
    """No reply came. ``written`` is false where the event never left this process."""

    written: bool


Answer = Accepted | Refused | Unanswered


class Next(Enum):
    """What follows on an answer."""

    DONE = auto()
    """The event has arrived."""
    REPEAT = auto()
    """It is sent again as it is."""
    SIMPLIFY = auto()
    """It is sent again without what the server may have refused."""
    DROP = auto()
    """It has not arrived, and is given up."""


def after_answer(event: OutgoingEvent, answer: Answer, *, repeated: bool) -> Next:
    """Decide what follows; ``repeated`` marks an event that may have arrived before."""
    match answer:
        case Accepted():
            return Next.DONE
        case Unanswered(written=False):
            return Next.REPEAT
        case Unanswered():
            return _after_loss(event, repeated=repeated)
        case Refused(response):
            return _after_refusal(event, response, repeated=repeated)


def _after_loss(event: OutgoingEvent, *, repeated: bool) -> Next:
    if event.event == "run:complete":
        # Without it the run stays open until Lightning finds it lost.
        return Next.REPEAT
    # A line that is sent twice is stored twice: it has no id by which to recognise it.
    return Next.DROP if event.is_log or repeated else Next.REPEAT


def _after_refusal(event: OutgoingEvent, response: Any, *, repeated: bool) -> Next:
    if event.event == "run:complete":
        if _ALREADY_COMPLETE in repr(response):
            return Next.DONE
        return Next.SIMPLIFY if simplified(event) is not event else Next.DROP
    # The first copy is why the second one is refused: its ids are taken.
    return Next.DONE if repeated and not event.is_log else Next.DROP


def simplified(event: OutgoingEvent) -> OutgoingEvent:
    """Remove the state from ``run:complete``, then all but how the run ended."""
    without = {"final_dataclip_id"} if "final_dataclip_id" in event.payload else {"final_state"}
    fields = {name: value for name, value in event.payload.items() if name not in without}
    return event if fields == event.payload else replace(event, payload=fields, uses="")


def without_references(
    event: OutgoingEvent, lost_dataclips: set[str], lost_steps: set[str]
) -> OutgoingEvent:
    """Remove what an event refers to and the server does not have."""
    if event.uses and event.uses in lost_dataclips:
        names = ("input_dataclip_id", "final_dataclip_id")
        fields = {name: value for name, value in event.payload.items() if name not in names}
        return replace(event, payload=fields, uses="")
    if event.is_log and event.step_id in lost_steps:
        fields = {name: value for name, value in event.payload.items() if name != "step_id"}
        return replace(event, payload=fields, step_id="")
    return event


def log_message(run_id: str, lines: Sequence[OutgoingEvent], *, batch: bool) -> tuple[str, bytes]:
    """Encode log lines as one message: its event and its payload."""
    if not batch:
        return LOG, encode_json({"run_id": run_id, **lines[0].payload})
    return BATCH, encode_json({"run_id": run_id, "logs": [line.payload for line in lines]})
