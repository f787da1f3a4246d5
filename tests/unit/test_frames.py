"""Frames: the decoder accepts what the encoder writes, in any pieces, and nothing else."""

from __future__ import annotations

import pickle
import socket
import struct
from typing import Any

import pytest

import worker
from tests.support.fake_run import request_for
from worker.sandbox import protocol
from worker.sandbox.protocol import (
    REQUEST_LENGTH,
    ConditionRequest,
    FrameDecoder,
    FrameSender,
    ProtocolError,
    decode_object,
    encode_frame,
    encode_request,
)

# In figures and not by their names: the limits themselves must not change unnoticed.
MAX_HEADER_BYTES, MAX_BODY_BYTES = 67_108_864, 2_147_483_648


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


def test_a_long_text_is_encoded_in_pieces_as_it_would_be_in_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = [
        letter * length for letter in ("x", "\u00e9", "\ud800", "\U0001f600") for length in range(9)
    ]
    whole = [encode_frame({}, text) for text in texts]
    monkeypatch.setattr(protocol, "_PIECE_CHARACTERS", 3)
    assert [encode_frame({}, text) for text in texts] == whole


def test_a_sender_sends_what_was_put_once_and_in_order() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = FrameSender(ours)
        for number in range(3):
            sender.put({"n": number}, f"{number}")
        for _ in range(2):
            sender.flush()
        sender.send()
        ours.close()
        data = b"".join(iter(lambda: theirs.recv(4096), b""))
    frames = list(FrameDecoder(decode_object).feed(data))
    assert frames == [({"n": 0}, "0"), ({"n": 1}, "1"), ({"n": 2}, "2")]


def test_a_usual_realm_has_no_bundles_and_counts_no_instructions() -> None:
    assert protocol.USUAL_REALM == ((), (), False)


def test_a_request_is_its_length_and_a_pickle() -> None:
    request = ConditionRequest(request=request_for(worker.load({"steps": [{"id": "a"}]})))
    encoded = encode_request(request)
    body = encoded[REQUEST_LENGTH.size :]
    assert REQUEST_LENGTH.unpack(encoded[: REQUEST_LENGTH.size]) == (len(body),)
    assert pickle.loads(body) == request
