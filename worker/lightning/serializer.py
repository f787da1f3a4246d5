"""Frames of Phoenix channels, serializer 2.0.0: JSON texts, and binary frames for bytes."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from worker.errors import WorkerError
from worker.util.nesting import ENVELOPE_LEVELS, NESTING_LIMIT, has_more_values, nests_deeper

MAX_FRAME_BYTES = 11_000_000
"""The largest frame that Lightning accepts; it closes the connection on a larger one."""

_PUSH, _REPLY, _BROADCAST = range(3)
# The strings in the head of a binary frame, in their order, by its kind.
_HEADS = {_PUSH: 3, _REPLY: 4, _BROADCAST: 2}


class FrameError(WorkerError):
    """The frame is not one of Phoenix channels."""


class ChannelFrame(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Frame of a channel. ``payload`` is JSON data, or in a binary frame bytes.

    A reply has the ``ref`` of its request, and ``phx_reply`` as its event. Its payload holds
    ``status`` and ``response``.
    """

    join_ref: str | None
    ref: str | None
    topic: str
    event: str
    payload: Any


def encode_json(value: Any) -> bytes:
    """Encode a payload. Raises ``TypeError`` or ``ValueError`` if it is not JSON data."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        # Half of a surrogate pair, which a text that was cut may hold.
        return json.dumps(value, separators=(",", ":"), default=_plain).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Raw):
        return json.loads(bytes(value))
    return msgspec.structs.asdict(value)


def encode_frame(
    join_ref: str | None, ref: str | None, topic: str, event: str, payload: bytes
) -> bytes:
    """Encode a text frame around a payload that is JSON text already."""
    # The payload is encoded once, for the disk and for each time that it is sent.
    head = msgspec.json.encode([join_ref, ref, topic, event])
    return b"%b,%b]" % (head[:-1], payload)


def encode_binary_reply(
    join_ref: str | None, ref: str, topic: str, status: str, content: bytes
) -> bytes:
    """Encode a reply whose response is bytes."""
    strings = [text.encode() for text in (join_ref or "", ref, topic, status)]
    return bytes([_REPLY, *map(len, strings)]) + b"".join(strings) + content


def decode_frame(data: bytes, *, is_text: bool) -> ChannelFrame:
    """Decode a text frame or a binary one. Raises :class:`FrameError`."""
    return _decode_text(data) if is_text else _decode_binary(data)


def _decode_text(data: bytes) -> ChannelFrame:
    if nests_deeper(data, NESTING_LIMIT + ENVELOPE_LEVELS):
        raise FrameError("a frame is nested too deeply")
    # A million values take some hundred times the memory of their text.
    if has_more_values(data):
        raise FrameError("a frame has too many values")
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return _decode_odd_text(data)


_decoder = msgspec.json.Decoder(ChannelFrame)


def _decode_odd_text(data: bytes) -> ChannelFrame:
    """Decode a frame with the escape of half a surrogate pair, or report what is wrong."""
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"cannot read a frame: {error}") from error
    try:
        return msgspec.convert(fields, ChannelFrame)
    except msgspec.ValidationError as error:
        text = data[:80].decode("utf-8", "replace")
        raise FrameError(
            f"expected [join_ref, ref, topic, event, payload], found {text}"
        ) from error


def _decode_binary(data: bytes) -> ChannelFrame:
    kind = data[0] if data else -1
    if kind not in _HEADS:
        raise FrameError(f"unknown kind {kind} of a binary frame (expected 0, 1 or 2)")
    strings, content = _split(data, _HEADS[kind])
    if kind == _REPLY:
        join_ref, ref, topic, status = strings
        payload = {"status": status, "response": content}
        return ChannelFrame(join_ref or None, ref, topic, "phx_reply", payload)
    *refs, topic, event = strings
    return ChannelFrame(refs[0] if refs else None, None, topic, event, content)


def _split(data: bytes, count: int) -> tuple[list[str], bytes]:
    """Return the strings in the head of a binary frame, and its content."""
    end = 1 + count
    strings = []
    for length in data[1:end]:
        strings.append(data[end : end + length])
        end += length
    if len(strings) < count or end > len(data):
        raise FrameError("a binary frame is cut off")
    try:
        return [string.decode() for string in strings], data[end:]
    except UnicodeDecodeError as error:
        raise FrameError(f"cannot read the head of a binary frame: {error}") from error
