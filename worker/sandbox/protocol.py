"""Protocol between the parent and a run's process: frames of a JSON header and a body.

The body is a dataclip, or the text of a host call or its reply. It travels as JSON text beside its
header, so that a state that is only passed on need not be parsed.
"""

from __future__ import annotations

import json
import pickle
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec
from msgspec import Struct, field

from worker.core.plan import Plan
from worker.core.scripted import Script
from worker.sandbox.clock import ClockKind
from worker.sandbox.limits import Limits

REQUEST_LENGTH = struct.Struct("<Q")
_LENGTHS = struct.Struct("<II")
MAX_HEADER_BYTES = 64 * 1024 * 1024
MAX_BODY_BYTES = 1 << 31
_PIECE_CHARACTERS = 1 << 18
READ_BYTES = 1 << 16
"""Bytes that both ends read from a channel at a time.

Room for more would be mapped and unmapped by the system in each read, which takes longer than a
short run's events.
"""

EXIT_OUT_OF_MEMORY = 77
"""Exit code of a process that has no memory left to write an event."""

EXIT_UNLOADED = 78
"""Exit code of the process that makes a realm's image, where a bundle does not load."""

MAX_LOAD_CPU_S = 10.0
"""Processor time in which a realm must load, all its bundles included; then SIGPROF ends it."""

HOST_CALL = "host:call"
"""Type of a frame that is no event but a call for the parent's host.

The reply is a frame ``{number, at_us}``, with the time at which it arrives, and a text.
"""


class ProtocolError(Exception):
    """The bytes are not frames."""


INTL_LIBRARIES = ("intl", "agreement")
"""Libraries of the realm for workflows that name a function with a locale or a time zone."""


class RealmContents(NamedTuple):
    """Contents of a realm beyond the usual ones.

    ``bundles`` lists installed adaptors (``name@version``), each with the path of its bundle, and
    ``libraries`` the names of bundled scripts. A ``metered`` realm counts the instructions of its
    runs.
    """

    bundles: tuple[tuple[str, str], ...] = ()
    libraries: tuple[str, ...] = ()
    metered: bool = False


USUAL_REALM = RealmContents()


class RunRequest(Struct, frozen=True, kw_only=True):
    """One run, as the parent sends it.

    ``seed`` (32 hexadecimal digits) determines the run's other ids and its random numbers.
    ``jobs`` and ``conditions`` are compiled: a :class:`CompiledJob` or Python source by step id,
    and JavaScript by the expression as written. ``shared`` is the compiled module of the workflow's
    global functions, if it has one; ``permissive`` lets jobs name what OpenFn's jobs cannot,
    and with ``redacts_payload`` the ``data`` of an output over the payload limit is withheld from
    the next steps too. ``configurations`` holds each step's credential as
    JSON text, ``credentials`` what is merged under each, and ``missing`` the names of the
    credentials that are not there. ``modules`` are the
    modules that Python steps may import beyond the safe ones. ``script`` replaces the code of some
    executions of steps. ``clock`` is the kind of clock, ``clock_start_us`` the first time of a
    virtual one, and ``moments_us`` are the start times of a recording's executions. ``adaptors``
    maps specifiers to installed adaptors (``name@version``), and ``realm`` has their bundles.
    """

    run_id: str
    seed: str
    plan: Plan
    input: str
    limits: Limits
    jobs: dict[str, Any]
    conditions: dict[str, str]
    shared: Any = None
    permissive: bool = False
    redacts_payload: bool = False
    configurations: dict[str, str]
    secrets: tuple[str, ...]
    modules: frozenset[str]
    versions: dict[str, str]
    credentials: str = "{}"
    missing: dict[str, str] = field(default_factory=dict)
    script: Script = field(default_factory=dict)
    clock: ClockKind = ClockKind.MACHINE
    clock_start_us: int = 0
    moments_us: Mapping[tuple[str, int], int] = field(default_factory=dict)
    adaptors: Mapping[str, str] = field(default_factory=dict)
    realm: RealmContents = USUAL_REALM


class ConditionRequest(Struct, frozen=True, kw_only=True):
    """Conditions to evaluate over states that the parent sends, one request at a time.

    The first reply is a frame ``{error}`` with the error of a plan that cannot run, or null. Then
    each request is a frame ``{step, now_us, seed}`` with a state. Its reply is ``{taken, error}``,
    with the state where the conditions changed it. For a request with ``all``, a list of states,
    the reply lists a pair of taken and error for each.
    """

    request: RunRequest


PROGRAM_FIELDS = ("plan", "jobs", "conditions", "shared", "permissive", "adaptors")
"""Fields of a request that all runs of one workflow share."""

OWN_FIELDS = ("run_id", "seed", "input")
"""Fields of a request that each run has for itself."""


# What a runner receives, until its channel closes: a frame ``{program}`` gives a program its key;
# its clip is a pickle of the fields ``PROGRAM_FIELDS`` of its requests. A frame ``{program, run_id,
# seed, options}`` starts a run of a program; ``options`` is a pickle of those of the request's
# other fields that differ from their defaults, the clip is its input. Pickles are in base64. The
# events of the run follow, up to its ``run:complete``, or a frame of type ``RUN_STOPPED``.

RUN_STOPPED = "runner:stopped"
"""Type of a frame ``{mem}``, which is no event: the run's time is over, the parent completes it."""

RUNNER_IDLE = "runner:idle"
"""Type of a frame, which is no event: the runner has removed a run from its memory."""

PROGRAMS_DROPPED = "runner:dropped"
"""Type of a frame ``{programs}``, which is no event: they must be sent again before a next run."""


def encode_request(request: RunRequest | ConditionRequest) -> bytes:
    """Encode what the parent sends first: the length of a pickle, then the pickle."""
    body = pickle.dumps(request, protocol=pickle.HIGHEST_PROTOCOL)
    return REQUEST_LENGTH.pack(len(body)) + body


_encode_json = msgspec.json.Encoder().encode


def encode_frame(header: dict[str, Any], body: str | None = None) -> bytes:
    try:
        head = _encode_json(header)
    except UnicodeEncodeError:
        # Half a surrogate pair, which JavaScript's strings may hold: json can escape it.
        head = json.dumps(header, separators=(",", ":")).encode()
    if body is None:
        return _LENGTHS.pack(len(head), 0) + head
    tail = _encode_body(body)
    return b"".join((_LENGTHS.pack(len(head), len(tail)), head, tail))


def _encode_body(text: str) -> bytes:
    # A job's text may hold half a surrogate pair, which plain UTF-8 cannot encode.
    if len(text) <= _PIECE_CHARACTERS:
        return text.encode("utf-8", "surrogatepass")
    # One call for a text of 50 MB would keep all other threads waiting.
    starts = range(0, len(text), _PIECE_CHARACTERS)
    return b"".join(_encode_body(text[start : start + _PIECE_CHARACTERS]) for start in starts)


class FrameSink(Protocol):
    """Destination of a run's events: takes headers, each with its dataclip."""

    def put(self, header: dict[str, Any], dataclip: str | None) -> None: ...

    def flush(self) -> None:
        """Send the frames that were put so far."""


class FrameSender:
    """Sends frames into a socket, several at once."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._unsent: deque[bytes] = deque()

    def put(self, header: dict[str, Any], dataclip: str | None) -> None:
        self._unsent.append(encode_frame(header, dataclip))

    def flush(self) -> None:
        self.send()

    def send(self) -> None:
        """Send the frames that were put so far, before this returns."""
        frames = [self._unsent.popleft() for _ in range(len(self._unsent))]
        if frames:
            self._channel.sendall(b"".join(frames))


def decode_object(head: bytes) -> dict[str, Any]:
    """Decode a header as a JSON object. Raises :class:`ProtocolError` for anything else."""
    try:
        header = _decode_json(head)
    except ValueError as error:
        raise ProtocolError(f"not a frame: {error}") from error
    if not isinstance(header, dict):
        raise ProtocolError("the header of a frame must be an object")
    return header


def _decode_json(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError:
        # It refuses the escape of half a surrogate pair, which JavaScript's strings may hold.
        return json.loads(data)


def _allow(header: object, size_bytes: int) -> None:
    """Allow a body of any size up to ``MAX_BODY_BYTES``."""


Header = TypeVar("Header")


class FrameDecoder(Generic[Header]):
    """Decodes a stream of bytes into pairs of header and body (``None`` if absent).

    ``decode`` decodes a header. ``check_size`` gets a header and the size of its body before the
    body is buffered, and raises where that is too large.
    """

    def __init__(
        self,
        decode: Callable[[bytes], Header],
        *,
        max_header_bytes: int = MAX_HEADER_BYTES,
        check_size: Callable[[Header, int], None] = _allow,
        errors: str = "strict",
    ) -> None:
        """Take how headers are decoded, and how errors in the bytes of bodies are handled."""
        self._decode = decode
        self._max_header_bytes = max_header_bytes
        self._check_size = check_size
        self._errors = errors
        self._buffer = bytearray()
        self._open: tuple[Header, int] | None = None

    @property
    def unread(self) -> bytes:
        """The bytes of a frame that is not complete."""
        return bytes(self._buffer)

    def feed(self, data: bytes) -> Iterator[tuple[Header, str | None]]:
        """Yield the frames that ``data`` completes. Raises :class:`ProtocolError`."""
        self._buffer += data
        position = 0
        while True:
            if self._open is None:
                position = self._open_frame(position)
            if self._open is None or len(self._buffer) - position < self._open[1]:
                break
            (header, body_bytes), self._open = self._open, None
            start, position = position, position + body_bytes
            yield header, self._text(start, position) if body_bytes else None
        # Removed once for all frames: each removal moves the rest of the buffer.
        del self._buffer[:position]

    def _open_frame(self, position: int) -> int:
        """Decode the header that begins at a position, if all of it is there; return its end."""
        start = position + _LENGTHS.size
        if len(self._buffer) < start:
            return position
        lengths: tuple[int, int] = _LENGTHS.unpack_from(self._buffer, position)
        head_bytes, body_bytes = lengths
        # Checked before the bytes arrive: garbage would have the parent buffer up to 8 GiB.
        if head_bytes > self._max_header_bytes or body_bytes > MAX_BODY_BYTES:
            raise ProtocolError(f"a frame of {head_bytes} + {body_bytes} bytes is too large")
        end = start + head_bytes
        if len(self._buffer) < end:
            return position
        header = self._decode(bytes(self._buffer[start:end]))
        self._check_size(header, body_bytes)
        self._open = header, body_bytes
        return end

    def _text(self, start: int, end: int) -> str:
        try:
            return self._buffer[start:end].decode("utf-8", self._errors)
        except UnicodeDecodeError as error:
            raise ProtocolError(f"not a frame: {error}") from error
