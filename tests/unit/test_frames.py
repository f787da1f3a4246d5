"""Frames: the decoder accepts what the encoder writes, in any pieces, and nothing else."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from worker.sandbox.protocol import (
    MAX_BODY_BYTES,
    MAX_HEADER_BYTES,
    FrameDecoder,
    ProtocolError,
    decode_object,
    encode_frame,
)


def framed(head: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<II", len(head), len(body)) + head + body


def test_frames_are_decoded_from_any_pieces() -> None:
    frames: list[tuple[dict[str, Any], str | None]] = [
        ({"type": "a"}, None),
        ({"type": "b", "n": 1}, '{"x":"é"}'),
        ({}, "1"),
    ]
    data = b"".join(encode_frame(header, clip) for header, clip in frames)
    for size in (1, 3, 7, len(data)):
        decoder = FrameDecoder(decode_object)
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert [frame for piece in pieces for frame in decoder.feed(piece)] == frames


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(struct.pack("<II", MAX_HEADER_BYTES + 1, 0), id="header too large"),
        pytest.param(struct.pack("<II", 2, MAX_BODY_BYTES + 1) + b"{}", id="clip too large"),
        pytest.param(framed(b"{"), id="header not JSON"),
        pytest.param(framed(b"\xff"), id="header not UTF-8"),
        pytest.param(framed(b"[]"), id="header no object"),
        pytest.param(framed(b'"type"'), id="header a text"),
        pytest.param(framed(b"{}", b"\xff"), id="clip not UTF-8"),
    ],
)
def test_other_bytes_are_a_protocol_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        list(FrameDecoder(decode_object).feed(data))


def test_frames_before_the_broken_one_are_not_lost() -> None:
    frames = FrameDecoder(decode_object).feed(encode_frame({"type": "a"}) + framed(b"[]"))
    assert next(frames) == ({"type": "a"}, None)
    with pytest.raises(ProtocolError, match="must be an object"):
        next(frames)


@pytest.mark.parametrize(("head", "body"), [(MAX_HEADER_BYTES, 0), (2, MAX_BODY_BYTES)])
def test_a_frame_of_the_maximum_size_is_waited_for(head: int, body: int) -> None:
    assert list(FrameDecoder(decode_object).feed(struct.pack("<II", head, body) + b"{}")) == []
