"""Parts of all message types: their base, decoding, contents in chunks, and options of a run.

JSON. Decoding validates, so handlers see valid messages only. Times are in microseconds since the
epoch. The types are grouped by their peers: workers in ``worker_protocol``, clients in
``client_messages``, all subscribers in ``state_messages``.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from worker.util.nesting import ENVELOPE_LEVELS, NESTING_LIMIT, nests_deeper
from worker.workflow.limit_ranges import RANGES

# ``$`` alone would match before a newline at the end.
_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}(?!\n)$")
Id = Annotated[str, Meta(pattern=_ID.pattern)]
"""An id or a name: one level of a topic."""
# PostgreSQL has no text with a NUL in it.
WITHOUT_NUL = r"^[^\x00]*$"
Label = Annotated[str, Meta(min_length=1, max_length=200, pattern=WITHOUT_NUL)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Attempts = Annotated[int, Meta(ge=1, le=10_000)]
"""The number of an attempt of a run."""
Priority = Annotated[int, Meta(ge=-100, le=100)]
# The clock of a worker may show any time; a column of a database holds as much.
Time = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""Microseconds, since the epoch or between two clocks."""
Quantity = Annotated[float, Meta(ge=-(2**53), le=2**53)]
"""A number whose own range is checked, and named, by who uses it."""

NULL = Raw(b"null")

StatusName = Literal[
    "pending", "running", "success", "failed", "crashed", "cancelled", "killed", "exception",
    "lost", "rejected",
]  # fmt: skip


def is_id(text: str) -> bool:
    """Return whether a text can be an id."""
    return _ID.match(text) is not None


class WireError(ValueError):
    """A message that does not match its type."""


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
    sent_us: Time


class RunOptions(Payload, frozen=True):
    """The options of an order. Its limits are capped by those of the worker.

    With ``record`` the requests of its runs are kept, for a recording of each.
    """

    start: Annotated[str, Meta(max_length=1000)] = ""
    end: Annotated[str, Meta(max_length=1000)] = ""
    timeout_s: Quantity | None = None
    memory_mb: Quantity | None = None
    state_mb: Quantity | None = None
    payload_mb: Quantity | None = None
    log_payload_mb: Quantity | None = None
    executions: Quantity | None = None
    events_mb: Quantity | None = None
    fuel: Quantity | None = None
    record: bool = False

    def limits(self) -> dict[str, float | None]:
        """Return the requested limits, by the fields of :class:`Limits`."""
        fields = msgspec.structs.asdict(self)
        return {name: fields[name] for name in RANGES if name in fields}
