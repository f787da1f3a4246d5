"""Protocol between the parent and a run's process: frames of a JSON header and a body.

The body is a dataclip, or the text of a host call or its reply. It travels as JSON text beside its
header, so that a state that is only passed on need not be parsed.
"""

from __future__ import annotations

import json
import pickle
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from worker.core.plan import Plan
from worker.core.scripted import Script
from worker.sandbox.clock import ClockKind
from worker.sandbox.limits import Limits

REQUEST_LENGTH = struct.Struct("<Q")
_LENGTHS = struct.Struct("<II")
MAX_HEADER_BYTES = 64 * 1024 * 1024
MAX_BODY_BYTES = 1 << 31
READ_BYTES = 1 << 18
"""Bytes that both ends read from a channel at a time."""

EXIT_OUT_OF_MEMORY = 77
"""Exit code of a process that has no memory left to write an event."""

HOST_CALL = "host:call"
"""Type of a frame that is no event but a call for the parent's host.

The reply is a frame ``{number, at_us}``, with the time at which it arrives, and a text.
"""


class ProtocolError(Exception):
    """The bytes are not frames."""


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """One run, as the parent sends it.

    ``seed`` (32 hexadecimal digits) determines the run's other ids and its random numbers.
    ``jobs`` and ``conditions`` are compiled: a :class:`CompiledJob` or Python source by step id,
    and JavaScript by the expression as written. ``configurations`` holds each step's credential as
    JSON text, ``missing`` the names of the credentials that are not there. ``modules`` are the
    modules that Python steps may import beyond the safe ones. ``script`` replaces the code of some
    executions of steps. ``clock`` is the kind of clock, ``clock_start_us`` the first time of a
    virtual one, and ``moments_us`` are the start times of a recording's executions. ``adaptors``
    maps specifiers to installed adaptors (``name@version``), and ``bundles`` lists these with their
    paths.
    """

    run_id: str
    seed: str
    plan: Plan
    input: str
    limits: Limits
    jobs: dict[str, Any]
    conditions: dict[str, str]
    configurations: dict[str, str]
    secrets: tuple[str, ...]
    modules: frozenset[str]
    versions: dict[str, str]
    missing: dict[str, str] = field(default_factory=dict)
    script: Script = field(default_factory=dict)
    clock: ClockKind = ClockKind.MACHINE
    clock_start_us: int = 0
    moments_us: Mapping[tuple[str, int], int] = field(default_factory=dict)
    adaptors: Mapping[str, str] = field(default_factory=dict)
    bundles: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class ConditionRequest:
    """Conditions to evaluate over states that the parent sends, one request at a time.

    The first reply is a frame ``{error}`` with the error of a plan that cannot run, or null. Then
    each request is a frame ``{step, now_us, seed}`` with a state. Its reply is ``{taken, error}``,
    with the state where the conditions changed it. For a request with ``all``, a list of states,
    the reply lists a pair of taken and error for each.
    """

    request: RunRequest


def encode_request(request: RunRequest | ConditionRequest) -> bytes:
    """Encode what the parent sends first: the length of a pickle, then the pickle."""
    body = pickle.dumps(request, protocol=pickle.HIGHEST_PROTOCOL)
    return REQUEST_LENGTH.pack(len(body)) + body


_compact = json.JSONEncoder(separators=(",", ":")).encode


def encode_frame(header: dict[str, Any], body: str | None = None) -> bytes:
    head = _compact(header).encode()
    # A job's text may hold half a surrogate pair, which plain UTF-8 cannot encode.
    tail = b"" if body is None else body.encode("utf-8", "surrogatepass")
    return b"".join((_LENGTHS.pack(len(head), len(tail)), head, tail))


class FrameSink(Protocol):
    """Destination of a run's events: takes headers, each with its dataclip."""

    def put(self, header: dict[str, Any], dataclip: str | None) -> None: ...

    def flush(self) -> None:
        """Send the frames that were put so far."""


class FrameSender:
    """Sends frames into a socket, several at once."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._unsent: list[bytes] = []

    def put(self, header: dict[str, Any], dataclip: str | None) -> None:
        self._unsent.append(encode_frame(header, dataclip))

    def flush(self) -> None:
        self._channel.sendall(b"".join(self._unsent))
        self._unsent.clear()


class FrameDecoder:
    """Decodes a stream of bytes into pairs of header and body (``None`` if absent)."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[dict[str, Any], str | None]]:
        """Yield the frames that ``data`` completes. Raises :class:`ProtocolError`."""
        self._buffer += data
        position = 0
        while len(self._buffer) - position >= _LENGTHS.size:
            head_bytes, body_bytes = _LENGTHS.unpack_from(self._buffer, position)
            # Checked before the bytes arrive: garbage would have the parent buffer up to 8 GiB.
            if head_bytes > MAX_HEADER_BYTES or body_bytes > MAX_BODY_BYTES:
                raise ProtocolError(f"a frame of {head_bytes} + {body_bytes} bytes is too large")
            start = position + _LENGTHS.size
            if len(self._buffer) - start < head_bytes + body_bytes:
                break
            middle = start + head_bytes
            position = middle + body_bytes
            yield self._decode(start, middle, position)
        # Removed once for all frames: each removal moves the rest of the buffer.
        del self._buffer[:position]

    def _decode(self, start: int, middle: int, end: int) -> tuple[dict[str, Any], str | None]:
        try:
            header = json.loads(self._buffer[start:middle])
            body = self._buffer[middle:end].decode() if middle < end else None
        except ValueError as error:
            raise ProtocolError(f"not a frame: {error}") from error
        if not isinstance(header, dict):
            raise ProtocolError("the header of a frame must be an object")
        return header, body
