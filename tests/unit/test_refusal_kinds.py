"""Refusals of a broker: for good, of who connects or publishes, or of the moment."""

from __future__ import annotations

import asyncio
from typing import Any, Self

import pytest
from aiomqtt.exceptions import MqttConnectError
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from tests.support.control_plane_harness import TOPICS
from worker.cli.connection import BrokerConnection
from worker.fleet.client import Client
from worker.fleet.control_errors import AccessRefused, NoAnswer
from worker.fleet.messaging.address import parse_address
from worker.fleet.messaging.bus import (
    AccessDenied,
    BrokerRefusal,
    Disconnected,
    Message,
    QuotaExceeded,
)
from worker.fleet.messaging.in_memory import LocalBroker
from worker.fleet.messaging.mqtt import MqttBus
from worker.fleet.messaging.packets import MAX_PACKET_BYTES

ADDRESS = parse_address("mqtt://127.0.0.1")
PUBACKS = [
    (0x80, BrokerRefusal, "Unspecified error"),
    (0x83, BrokerRefusal, "Implementation specific error"),
    (0x87, AccessDenied, "Not authorized"),
    (0x90, BrokerRefusal, "Topic name invalid"),
    (0x97, QuotaExceeded, "Quota exceeded"),
]


@pytest.mark.parametrize(("code", "kind", "reason"), PUBACKS)
async def test_only_an_access_list_refuses_a_message_for_good(
    code: int, kind: type[BrokerRefusal], reason: str
) -> None:
    bus = MqttBus(ADDRESS)
    client: Any = bus._connection()
    client._client.socket = lambda: object()
    bus._sender.connect(client)
    publishing = asyncio.create_task(bus.confirm(Message(topic="a", payload=b"")))
    await asyncio.sleep(0)
    for _ in range(2):
        client.on_acknowledged(1, ReasonCode(PacketTypes.PUBACK, identifier=code))
    with pytest.raises(BrokerRefusal, match=f"messages on a: {reason}") as raised:
        await publishing
    assert type(raised.value) is kind
    client._connected.cancel()


class RefusingClient:
    """A client whose connection is refused with a code."""

    def __init__(self, code: int) -> None:
        self.code = code

    async def __aenter__(self) -> Self:
        raise MqttConnectError(ReasonCode(PacketTypes.CONNACK, identifier=self.code))

    async def __aexit__(self, *reason: object) -> None: ...


@pytest.mark.parametrize("code", [0x86, 0x87, 0x8C])
async def test_refused_credentials_end_a_connection(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MqttBus, "_connection", lambda self: RefusingClient(code))
    async with MqttBus(ADDRESS) as bus, asyncio.timeout(30):
        with pytest.raises(AccessDenied, match="refuses the connection"):
            await bus.receive()


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("mqtt://h", "no user was named: --mqtt mqtt://NAME:PASSWORD@HOST does"),
        ("mqtt://nurse@h", "no password was given: WORKER_MQTT_PASSWORD can hold it"),
        ("mqtt://nurse:wrong@h", "check the user name and the password"),
    ],
)
async def test_denied_access_names_what_to_look_at(
    url: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WORKER_MQTT_PASSWORD", raising=False)
    monkeypatch.setattr(MqttBus, "_connection", lambda self: RefusingClient(0x87))
    async with MqttBus(parse_address(url)) as bus, asyncio.timeout(30):
        with pytest.raises(AccessDenied) as raised:
            await bus.receive()
    assert str(raised.value).endswith(f"Not authorized ({remedy})")


@pytest.mark.parametrize("code", [0x80, 0x88, 0x89, 0x8A, 0x97, 0x9F])
async def test_a_connection_that_is_refused_for_now_is_tried_again(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MqttBus, "_connection", lambda self: RefusingClient(code))
    async with MqttBus(ADDRESS) as bus, asyncio.timeout(30):
        (arrival,) = await bus.receive()
        assert isinstance(arrival, Disconnected) and "refuses the connection" in arrival.reason


@pytest.mark.parametrize(
    ("refusal", "kind", "exit_code"),
    [(AccessDenied, AccessRefused, 2), (BrokerRefusal, NoAnswer, 69)],
)
async def test_a_request_that_is_refused_ends_with_its_reason_alone(
    refusal: type[BrokerRefusal], kind: type[NoAnswer], exit_code: int
) -> None:
    bus: Any = LocalBroker().bus(TOPICS.client("me"))

    async def refuse(message: Message) -> None:
        raise refusal("the broker refuses messages: Quota exceeded")

    bus.confirm = refuse
    connection = BrokerConnection(
        address=ADDRESS, topics=TOPICS, reply_timeout_s=30, max_packet_bytes=MAX_PACKET_BYTES
    )
    async with Client(bus, name="me", wait_s=30) as client:
        with pytest.raises(kind) as raised, connection.remedies():
            await client.summary()
    assert str(raised.value) == "the broker refuses messages: Quota exceeded"
    assert raised.value.exit_code == exit_code
