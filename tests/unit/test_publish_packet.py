"""Packets of messages that are published: what is encoded is what a receiver decodes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.publish_packet import MAX_FIELD_BYTES, decode_publish, encode_publish

TEXTS = st.text(st.characters(codec="utf-8"), max_size=200)
MESSAGES = st.builds(
    Message,
    topic=st.text(st.characters(codec="utf-8", exclude_characters="+#\0"), min_size=1),
    payload=st.binary(max_size=300) | st.just(b"x" * 20_000),
    retain=st.booleans(),
    reply_to=TEXTS,
    correlation=st.binary(max_size=200),
    expiry_s=st.integers(0, 2**32 - 1),
    content_type=TEXTS.filter(bool),
    properties=st.lists(st.tuples(TEXTS, TEXTS), max_size=3).map(tuple),
)


def decoded(message: Message, id: int | None) -> Any:
    command, packet = encode_publish(message, id)
    assert packet[0] == command
    size, at = 0, 1
    while packet[at] >= 0x80:
        size |= (packet[at] & 0x7F) << 7 * (at - 1)
        at += 1
    size |= packet[at] << 7 * (at - 1)
    content = packet[at + 1 :]
    assert len(content) == size
    return decode_publish(command, content)


@given(MESSAGES, st.none() | st.integers(1, 0xFFFF))
def test_what_is_encoded_is_what_a_receiver_decodes(message: Message, id: int | None) -> None:
    received = decoded(message, id)
    found = received.properties
    assert (received.qos, received.mid) == ((0, 0) if id is None else (1, id))
    assert message == Message(
        topic=received.topic,
        payload=received.payload,
        retain=received.retain,
        reply_to=getattr(found, "ResponseTopic", ""),
        correlation=getattr(found, "CorrelationData", b""),
        expiry_s=getattr(found, "MessageExpiryInterval", 0),
        content_type=getattr(found, "ContentType", "application/json"),
        properties=tuple(getattr(found, "UserProperty", ())),
    )


@pytest.mark.parametrize(
    "message",
    [
        Message(topic="", payload=b""),
        Message(topic="a/#", payload=b""),
        Message(topic="a\0", payload=b""),
        Message(topic="\ud800", payload=b""),
        Message(topic="a" * (MAX_FIELD_BYTES + 1), payload=b""),
        Message(topic="a", payload=b"", correlation=b"a" * (MAX_FIELD_BYTES + 1)),
    ],
    ids=["no topic", "wildcard", "NUL", "surrogate", "long topic", "long correlation"],
)
def test_what_has_no_form_in_a_packet_is_refused(message: Message) -> None:
    with pytest.raises(ValueError):
        encode_publish(message)
