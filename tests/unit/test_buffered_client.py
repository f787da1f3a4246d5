"""A client of MQTT: its sessions, and packets that are written and acknowledged together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import aiomqtt
import pytest
from paho.mqtt.client import CONNACK_ACCEPTED, CONNACK_REFUSED_SERVER_UNAVAILABLE, MQTTMessageInfo

from worker.fleet.messaging.buffered_client import WRITE_BYTES, BufferedClient


@pytest.mark.parametrize(
    ("code", "present", "begins"),
    [
        (CONNACK_ACCEPTED, False, True),
        (CONNACK_ACCEPTED, True, False),
        # MQTT 5 demands that a refusal names no session; the one of before is still there.
        (CONNACK_REFUSED_SERVER_UNAVAILABLE, False, False),
    ],
)
async def test_a_session_begins_with_a_connection_that_is_accepted(
    code: int, present: bool, begins: bool
) -> None:
    client = BufferedClient("127.0.0.1")
    begun: list[bool] = []
    client.on_new_session = lambda: begun.append(True)
    client._on_connect(None, None, SimpleNamespace(session_present=present), code)
    assert begun == [True] * begins
    client._connected.exception()


LARGE = b"x" * WRITE_BYTES
PUBLISH, PUBLISH_QOS_0, PUBACK, DISCONNECT = 0x32, 0x30, 0x40, 0xE0


def queued(*packets: tuple[int, bytes | bytearray]) -> list[tuple[bytes, int]]:
    client: Any = BufferedClient("127.0.0.1")
    for number, (command, packet) in enumerate(packets):
        client._client._packet_queue(command, packet, number, 1)
    client._connected.cancel()
    return [(bytes(each["packet"]), each["to_process"]) for each in client._client._out_packet]


async def test_packets_that_wait_are_written_together() -> None:
    assert queued((PUBACK, b"a"), (PUBLISH, bytearray(b"bc")), (PUBACK, b"d")) == [(b"abcd", 4)]
    assert queued((PUBACK, b"a"), (DISCONNECT, b"b"), (PUBACK, b"c")) == [
        (b"a", 1), (b"b", 1), (b"c", 1),
    ]  # fmt: skip
    assert queued((PUBLISH, b"a"), (PUBLISH, LARGE)) == [(b"a", 1), (LARGE, WRITE_BYTES)]


async def test_a_message_without_an_acknowledgement_is_sent_once_it_has_joined_another() -> None:
    client: Any = BufferedClient("127.0.0.1")
    infos = [MQTTMessageInfo(number) for number in range(3)]
    for number, (packet, info) in enumerate(zip((b"a", b"b", LARGE), infos, strict=True)):
        client._client._packet_queue(PUBLISH_QOS_0, packet, number, 0, info)
    client._connected.cancel()
    first, second = client._client._out_packet
    assert (bytes(first["packet"]), first["info"], second["packet"]) == (b"ab", infos[0], LARGE)
    assert [info.is_published() for info in infos] == [False, True, False]


async def test_a_packet_that_is_half_written_stays_as_it_is() -> None:
    client: Any = BufferedClient("127.0.0.1")
    client._client._packet_queue(PUBLISH, b"ab", 1, 1)
    client._client._out_packet[0]["pos"] = 1
    client._client._packet_queue(PUBLISH, b"c", 2, 1)
    client._connected.cancel()
    assert [each["packet"] for each in client._client._out_packet] == [b"ab", b"c"]


@pytest.mark.parametrize(
    ("packet", "failed"),
    [
        (b"\x00\x05", False),
        (b"\x00\x05\x10", False),
        (b"\x00\x05\x10\x00", False),
        (b"\x00\x05\x00\x04\x1f\x00\x01a", False),
        (b"\x00\x05\x87\x00", True),
    ],
    ids=["a number alone", "no subscriber", "no properties", "a reason as text", "not authorized"],
)
async def test_an_acknowledgement_has_a_number_or_a_reason(packet: bytes, failed: bool) -> None:
    client: Any = BufferedClient("127.0.0.1", protocol=aiomqtt.ProtocolVersion.V5)
    paho = client._client
    acknowledged: list[tuple[int, bool]] = []
    paho.on_publish = lambda client, userdata, mid, code, properties: acknowledged.append(
        (mid, code.is_failure)
    )
    paho._out_messages[5] = SimpleNamespace(
        qos=1, info=SimpleNamespace(_set_as_published=lambda: None)
    )
    paho._inflight_messages = 1
    decoded: list[str] = []
    handle = client._handle_acknowledgement

    def decode(command: str) -> Any:
        decoded.append(command)
        return handle(command)

    client._handle_acknowledgement = decode
    for _ in range(2):
        paho._in_packet.update(command=PUBACK, packet=bytearray(packet))
        paho._handle_pubackcomp("PUBACK")
    client._connected.cancel()
    assert acknowledged == [(5, failed)], "the second time there is no such message"
    assert paho._inflight_messages == 0 and not paho._out_messages
    assert bool(decoded) is (failed or len(packet) > 4)
