"""What the broker refuses is reported: credentials, messages, and a broker that is not there."""

from __future__ import annotations

import asyncio
import gc
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import start_worker
from tests.support.fleets import needs_mosquitto
from worker.errors import UsageError
from worker.fleet.client import Client, client_name
from worker.fleet.control_errors import AccessRefused
from worker.fleet.messaging.address import parse_address
from worker.fleet.messaging.broker import Broker, free_port
from worker.fleet.messaging.bus import BrokerRefusal, Connected, Disconnected, Message
from worker.fleet.messaging.mqtt import MqttBus

ACCESS = """\
allow_anonymous false
password_file {folder}/passwords
acl_file {folder}/access
listener {websocket_port} 127.0.0.1
protocol websockets"""


@pytest.fixture
def websocket_port() -> int:
    return free_port()


@pytest.fixture
def broker(tmp_path: Path, websocket_port: int) -> Iterator[Broker]:
    """Provide a broker with one user, who may publish on ``allowed`` alone."""
    (tmp_path / "passwords").touch(mode=0o600)
    command = ["mosquitto_passwd", "-b", str(tmp_path / "passwords"), "alice", "secret"]
    subprocess.run(command, check=True)
    access = "user alice\ntopic write allowed\npattern read worker/v1/clients/%c/rsp\n"
    (tmp_path / "access").write_text(access)
    (tmp_path / "access").chmod(0o600)
    text = ACCESS.format(folder=tmp_path, websocket_port=websocket_port)
    with Broker(kind="mosquitto", access=text) as started:
        yield started


def bus_of(broker: Broker, password: str = "secret") -> MqttBus:
    return MqttBus(parse_address(f"mqtt://alice:{password}@127.0.0.1:{broker.port}"))


async def connect(bus: MqttBus) -> None:
    async with asyncio.timeout(60):
        while not any(isinstance(arrival, Connected) for arrival in await bus.receive()):
            pass


@needs_mosquitto
async def test_wrong_credentials_end_the_first_connection(broker: Broker) -> None:
    async with bus_of(broker, "wrong") as bus, asyncio.timeout(60):
        with pytest.raises(BrokerRefusal, match=f"127.0.0.1:{broker.port} refuses the connection"):
            await bus.receive()
    async with Client(bus_of(broker, "wrong"), wait_s=60) as client, asyncio.timeout(30):
        with pytest.raises(AccessRefused, match=r"[Nn]ot authorized|[Bb]ad user"):
            await client.summary()


@needs_mosquitto
@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [("orders", "list"), ("start", "--outbox", "OUTBOX"), ("control-plane", "--store", "STORE")],
    ids=lambda command: command[0],
)
def test_a_process_with_wrong_credentials_ends_with_2(
    broker: Broker, command: tuple[str, ...], tmp_path: Path
) -> None:
    places = {"OUTBOX": str(tmp_path / "outbox"), "STORE": f"sqlite:///{tmp_path}/orders.db"}
    arguments = [places.get(each, each) for each in command]
    done = start_worker(*arguments, "--mqtt", f"mqtt://alice:wrong@127.0.0.1:{broker.port}")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("(check the user name and the password)")


@needs_mosquitto
async def test_a_message_that_the_access_list_denies_is_named(broker: Broker) -> None:
    async with bus_of(broker) as bus:
        await connect(bus)
        await bus.confirm(Message(topic="allowed", payload=b"x"))
        with pytest.raises(BrokerRefusal, match="refuses messages on denied: Not authorized"):
            await bus.confirm(Message(topic="denied", payload=b"x"))
        await bus.confirm(Message(topic="allowed", payload=b"x"))


@needs_mosquitto
async def test_a_request_that_the_access_list_denies_fails_at_once(broker: Broker) -> None:
    name = client_name()
    address = parse_address(f"mqtt://alice:secret@127.0.0.1:{broker.port}")
    client = Client(MqttBus(address, id=name), name=name, wait_s=60)
    async with client, asyncio.timeout(30):
        with pytest.raises(AccessRefused, match="refuses messages on worker/v1/requests/summary"):
            await client.summary()


@needs_mosquitto
async def test_two_of_one_client_id_throw_each_other_out_less_and_less_often(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures, enough = list[int](), asyncio.Event()

    def pause_s(failed: int) -> float:
        failures.append(failed)
        if failed >= 4:
            enough.set()
        return 0.0

    monkeypatch.setattr("worker.fleet.messaging.mqtt.backoff_s", pause_s)
    address = parse_address(f"mqtt://alice:secret@127.0.0.1:{broker.port}")
    async with MqttBus(address, id="same"), MqttBus(address, id="same"), asyncio.timeout(60):
        await enough.wait()
    assert sorted(set(failures))[:4] == [1, 2, 3, 4]


# A CONNACK of MQTT 5 that accepts, without properties.
CONNACK = bytes((0x20, 3, 0, 0, 0))


# No answer, as from a proxy without its broker; one to CONNECT; and none to SUBSCRIBE.
@pytest.mark.parametrize("answers", [[b""], [CONNACK], [CONNACK, b""]])
async def test_a_connection_that_breaks_at_its_start_is_made_again(
    monkeypatch: pytest.MonkeyPatch, answers: list[bytes]
) -> None:
    connections: asyncio.Queue[None] = asyncio.Queue()

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.read(65536)
            writer.write(answer)
        writer.close()
        connections.put_nowait(None)

    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, problem: reported.append(problem))
    monkeypatch.setattr("worker.fleet.messaging.mqtt.backoff_s", lambda failed: 0.0)
    server = await asyncio.start_server(respond, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    bus = MqttBus(parse_address(f"mqtt://127.0.0.1:{port}"), "filter")
    async with server, bus, asyncio.timeout(20):
        for _ in range(20):
            await connections.get()
    # asyncio reports failures that nobody has asked for as they are collected as garbage.
    gc.collect()
    assert reported == []


@needs_mosquitto
async def test_mqtt_goes_over_websockets(broker: Broker, websocket_port: int) -> None:
    url = f"ws://alice:secret@127.0.0.1:{websocket_port}"
    async with MqttBus(parse_address(url)) as bus:
        await connect(bus)
        await bus.confirm(Message(topic="allowed", payload=b"x"))


async def test_a_broker_that_is_not_there_is_named_with_its_url() -> None:
    port = free_port()
    async with MqttBus(parse_address(f"mqtt://127.0.0.1:{port}")) as bus, asyncio.timeout(60):
        (arrival,) = await bus.receive()
        assert isinstance(arrival, Disconnected)
        assert arrival.reason.startswith(f"cannot connect to mqtt://127.0.0.1:{port}: ")
        with pytest.raises(ConnectionError):
            await bus.confirm(Message(topic="allowed", payload=b"x"))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("ws://h", "ws://h:80/mqtt"),
        ("wss://h:8443/broker", "wss://h:8443/broker"),
        ("mqtts://h", "mqtts://h:8883"),
    ],
)
def test_an_address_is_shown_as_it_is_used(url: str, shown: str) -> None:
    assert str(parse_address(url)) == shown


@pytest.mark.parametrize("url", ["mqtt://h/path", "http://h", "ws://"])
def test_what_names_no_broker_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="not a broker URL"):
        parse_address(url)
