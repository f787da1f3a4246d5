"""A client of MQTT: its sessions, and packets that are written and acknowledged together."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import aiomqtt
import pytest
from paho.mqtt.client import CONNACK_ACCEPTED, CONNACK_REFUSED_SERVER_UNAVAILABLE

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


PUBLISH, PUBLISH_QOS_0, PUBACK, DISCONNECT = 0x32, 0x30, 0x40, 0xE0


def queued(*packets: tuple[int, bytes | bytearray]) -> list[tuple[bytes, int]]:
    client: Any = BufferedClient("127.0.0.1")
    for number, (command, packet) in enumerate(packets):
        client._client._packet_queue(command, packet, number, int(command != PUBLISH_QOS_0))
    client._connected.cancel()
    return [(bytes(each["packet"]), each["to_process"]) for each in client._client._out_packet]


async def test_packets_that_wait_are_written_together() -> None:
    large = b"x" * WRITE_BYTES
    assert queued((PUBACK, b"a"), (PUBLISH, bytearray(b"bc")), (PUBACK, b"d")) == [(b"abcd", 4)]
    # Whoever waits for the writing of a packet learns of it by the end of that packet.
    for alone in (PUBLISH_QOS_0, DISCONNECT):
        assert queued((PUBACK, b"a"), (alone, b"b"), (PUBACK, b"c")) == [
            (b"a", 1), (b"b", 1), (b"c", 1),
        ]  # fmt: skip
    assert queued((PUBLISH, b"a"), (PUBLISH, large)) == [(b"a", 1), (large, WRITE_BYTES)]


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
    acknowledged: list[tuple[int, bool]] = []
    client.on_acknowledged = lambda id, reason: acknowledged.append((id, reason.is_failure))
    client._client._in_packet.update(command=PUBACK, packet=bytearray(packet))
    client._client._handle_pubackcomp("PUBACK")
    client._connected.cancel()
    assert acknowledged == [(5, failed)]


class Library:
    """What the library says of its socket, and what it is asked to do."""

    def __init__(self, takes: int) -> None:
        self.takes = takes
        self.written = 0

    def socket(self) -> object:
        return self

    def fileno(self) -> int:
        return 99

    def loop_write(self) -> None:
        self.written += 1

    def want_write(self) -> bool:
        return self.written < self.takes


@pytest.mark.parametrize("takes", [1, 2])
async def test_packets_are_written_in_the_next_turn_and_then_when_there_is_room(
    takes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, library = BufferedClient("127.0.0.1"), Library(takes)
    written: list[int] = []
    client.on_written = lambda: written.append(library.written)
    waits: list[int] = []
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "add_writer", lambda file, *call: waits.append(file))
    monkeypatch.setattr(loop, "remove_writer", lambda file: waits.remove(file))
    client._connected.set_result(None)
    client._on_socket_register_write(library, None, library)
    assert not written
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert library.written == 1 and waits == [99] * (takes - 1)
    client._on_socket_unregister_write(library, None, library)
    assert not waits and written == [1]


async def test_a_connection_that_was_given_up_ends_without_an_error() -> None:
    client = BufferedClient("127.0.0.1")
    client._connected.cancel()
    client._on_disconnect(client._client, None, None, 0)


class Closed:
    """A socket that was closed, whose number another file may have by now."""

    def fileno(self) -> int:
        raise AssertionError("it is not to be registered")


async def test_a_socket_that_was_closed_meanwhile_is_not_registered() -> None:
    client, library = BufferedClient("127.0.0.1"), Library(2)
    client._start_reading(library, Closed())
    client._write(library, Closed())
    assert library.written == 0
    client._connected.cancel()
