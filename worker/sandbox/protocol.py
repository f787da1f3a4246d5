"""What crosses between the parent and a run's process: frames of a JSON header and a JSON clip.

A clip is a state. It travels as text beside its header, so that nobody parses a state only to
pass it on.
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
HEADER_LIMIT = 64 * 1024 * 1024
CLIP_LIMIT = 1 << 31

EXIT_OUT_OF_MEMORY = 77
"""How a run's process ends when it has no memory left to say why."""


CALL = "host:call"
"""The type of a frame that is no event: a call that the parent performs. Its answer is a frame
``{number, at}``, with the moment at which it arrives, and a text."""


class ProtocolError(Exception):
    """The bytes are not frames."""


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """One run, as the parent sends it. ``seed`` is what its other ids are made from.

    ``jobs`` and ``conditions`` are compiled: a :class:`CompiledJob` or Python source by step id,
    and JavaScript by the expression as written. ``configurations`` holds each step's credential as
    JSON text, ``missing`` the names of those that nobody gave. ``modules`` are the modules that
    Python steps may import beyond the safe ones. ``script`` says which executions of which steps do
    something else than run their code. ``clock`` is the kind of clock, ``start`` is
    where a virtual one begins, ``moments`` are when the steps of a recording began. ``adaptors``
    says which adaptor (its name and version) serves which specifier, and ``bundles`` where it is.
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
    start: int = 0
    moments: Mapping[tuple[str, int], int] = field(default_factory=dict)
    adaptors: Mapping[str, str] = field(default_factory=dict)
    bundles: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class ConditionRequest:
    """Conditions to be evaluated over states that the parent sends, one at a time.

    The answer to the inquiry itself is a frame ``{refused: error or null}``. A question is a frame
    ``{step, now, seed}`` with a state; its answer ``{verdicts, error}``, with the state that the
    conditions left where they changed it. A question with ``all``, a list of states, is answered by
    a list of pairs of verdicts and error.
    """

    request: RunRequest


_compact = json.JSONEncoder(separators=(",", ":")).encode


def frame(header: dict[str, Any], clip: str | None = None) -> bytes:
    """The bytes of one frame."""
    head = _compact(header).encode()
    body = b"" if clip is None else clip.encode("utf-8", "surrogatepass")
    return b"".join((_LENGTHS.pack(len(head), len(body)), head, body))


class Out(Protocol):
    """Where the facts of a run go: a header, and a clip beside it."""

    def put(self, header: dict[str, Any], clip: str | None) -> None: ...

    def flush(self) -> None:
        """Let what was put arrive."""


class Channel:
    """Sends frames into a socket, several at once."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._unsent: list[bytes] = []

    def put(self, header: dict[str, Any], clip: str | None) -> None:
        self._unsent.append(frame(header, clip))

    def flush(self) -> None:
        self._channel.sendall(b"".join(self._unsent))
        self._unsent.clear()


class Frames:
    """Cuts a stream of bytes into (header, clip) pairs; a clip that is absent is ``None``."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[dict[str, Any], str | None]]:
        """The frames that ``data`` completes. Raises :class:`ProtocolError` on anything else."""
        self._buffer += data
        position = 0
        while len(self._buffer) - position >= _LENGTHS.size:
            head, body = _LENGTHS.unpack_from(self._buffer, position)
            if head > HEADER_LIMIT or body > CLIP_LIMIT:
                raise ProtocolError(f"a frame of {head} + {body} bytes")
            start = position + _LENGTHS.size
            if len(self._buffer) - start < head + body:
                break
            position = start + head + body
            yield self._read(start, head, body)
        del self._buffer[:position]

    def _read(self, start: int, head: int, body: int) -> tuple[dict[str, Any], str | None]:
        try:
            header = json.loads(self._buffer[start : start + head])
            clip = self._buffer[start + head : start + head + body].decode() if body else None
        except ValueError as error:
            raise ProtocolError(f"not a frame: {error}") from error
        if not isinstance(header, dict):
            raise ProtocolError("a frame's header must be an object")
        return header, clip
