"""Protocol between the parent and a run's process: frames of a JSON header and a JSON clip.

A clip is a state. It travels as text beside its header, so that a state that is only passed on need
not be parsed.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from worker.core.plan import Plan
from worker.core.scripted import Script
from worker.sandbox.clock import ClockKind
from worker.sandbox.limits import Limits

_LENGTHS = struct.Struct("<II")
MAX_HEADER_BYTES = 64 * 1024 * 1024
MAX_CLIP_BYTES = 1 << 31
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

    The first reply is a frame ``{refused: error or null}``. Then each request is a frame
    ``{step, now_us, seed}`` with a state. Its reply is ``{verdicts, error}``, with the state where
    the conditions changed it. For a request with ``all``, a list of states, the reply lists a pair
    of verdicts and error for each.
    """

    request: RunRequest


_compact = json.JSONEncoder(separators=(",", ":")).encode


def encode_frame(header: dict[str, Any], clip: str | None = None) -> bytes:
    """Return the bytes of one frame."""
    head = _compact(header).encode()
    # A job's text may hold half a surrogate pair; its bytes must not fail here.
    body = b"" if clip is None else clip.encode("utf-8", "surrogatepass")
    return b"".join((_LENGTHS.pack(len(head), len(body)), head, body))


class FrameSink(Protocol):
    """Destination of a run's events: takes headers, each with a clip beside it."""

    def put(self, header: dict[str, Any], clip: str | None) -> None: ...

    def flush(self) -> None:
        """Send the frames that were put so far."""


class FrameSender:
    """Sends frames into a socket, several at once."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._unsent: list[bytes] = []

    def put(self, header: dict[str, Any], clip: str | None) -> None:
        self._unsent.append(encode_frame(header, clip))

    def flush(self) -> None:
        self._channel.sendall(b"".join(self._unsent))
        self._unsent.clear()


class FrameDecoder:
    """Decodes a stream of bytes into pairs of header and clip (``None`` if absent)."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[dict[str, Any], str | None]]:
        """Yield the frames that ``data`` completes. Raises :class:`ProtocolError`."""
        self._buffer += data
        position = 0
        while len(self._buffer) - position >= _LENGTHS.size:
            head, body = _LENGTHS.unpack_from(self._buffer, position)
            # Checked before the bytes arrive: garbage would have the parent buffer up to 8 GiB.
            if head > MAX_HEADER_BYTES or body > MAX_CLIP_BYTES:
                raise ProtocolError(f"a frame of {head} + {body} bytes is too large")
            start = position + _LENGTHS.size
            if len(self._buffer) - start < head + body:
                break
            position = start + head + body
            yield self._decode(start, head, body)
        # Removed once for all frames: each removal moves the rest of the buffer.
        del self._buffer[:position]

    def _decode(self, start: int, head: int, body: int) -> tuple[dict[str, Any], str | None]:
        try:
            header = json.loads(self._buffer[start : start + head])
            clip = self._buffer[start + head : start + head + body].decode() if body else None
        except ValueError as error:
            raise ProtocolError(f"not a frame: {error}") from error
        if not isinstance(header, dict):
            raise ProtocolError("the header of a frame must be an object")
        return header, clip
