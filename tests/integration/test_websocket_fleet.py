"""A fleet over ``wss://``: a real broker with WebSockets, TLS and an authority of one's own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import aiomqtt
import pytest
import trustme
from paho.mqtt.client import WebsocketConnectionError

from tests.support.fleets import Fleet, fleet, needs_mosquitto
from tests.support.helpers import job, workflow
from worker.fleet.client import Client, client_name
from worker.fleet.messaging.address import parse_address
from worker.fleet.messaging.broker import free_port
from worker.fleet.messaging.bus import Disconnected
from worker.fleet.messaging.connection_problems import TIMED_OUT, connection_problem
from worker.fleet.messaging.mqtt import MqttBus
from worker.workflow.save import to_execution_plan

LISTENER = """\
allow_anonymous true
listener {port} 127.0.0.1
protocol websockets
cafile {folder}/ca.pem
certfile {folder}/{name}.pem
keyfile {folder}/{name}.key"""
WHOLE = pytest.mark.filterwarnings(
    # paho leaves the socket of a handshake that failed to the garbage collector.
    "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """Write certificates of this machine and of another one, and a foreign authority's."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    trustme.CA().cert_pem.write_to_path(tmp_path / "other.pem")
    for name in ("localhost", "elsewhere.example"):
        certificate = authority.issue_cert(name)
        certificate.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
        certificate.private_key_pem.write_to_path(tmp_path / f"{name}.key")
    return tmp_path / "ca.pem"


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def made(authority: Path, port: int, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """Provide a fleet at a broker with the certificate of a host, by default this one."""
    host = getattr(request, "param", "localhost")
    access = LISTENER.format(port=port, folder=authority.parent, name=host)
    with fleet(authority.parent, kind="mosquitto", access=access) as made:
        made.url = f"wss://localhost:{port}"
        _await_listener(port)
        yield made


def _await_listener(port: int) -> None:
    # The broker was awaited at the port without TLS, which it opens first.
    while True:
        with (
            contextlib.suppress(ConnectionRefusedError),
            socket.create_connection(("127.0.0.1", port)),
        ):
            return


@needs_mosquitto
@pytest.mark.slow
async def test_worker_control_plane_and_client_speak_over_wss(made: Fleet, authority: Path) -> None:
    made.control("--ca", str(authority))
    made.worker("north", "--ca", str(authority))
    name = client_name()
    bus = MqttBus(parse_address(made.url, ca=authority), id=name)
    async with Client(bus, name=name, wait_s=60) as client:
        plan = to_execution_plan(workflow(job("fn(state => ({...state, seen: 1}))")))
        # In several frames. Not more: mosquitto 2.0 sends 4 kB of a message each 100 ms.
        order = await client.submit(plan=plan, input={"data": {"text": "x" * 20_000}})
        assert (await client.wait(order["last_run"]))["status"] == "success"
    command = made.command("orders", "list", "--ca", str(authority))
    assert "success" in command.stdout


async def reason_of(url: str, ca: Path | None) -> str:
    """Return why a connection fails."""
    async with MqttBus(parse_address(url, ca=ca)) as bus, asyncio.timeout(60):
        (arrival,) = await bus.receive()
        assert isinstance(arrival, Disconnected)
        return arrival.reason


@WHOLE
@needs_mosquitto
@pytest.mark.slow
@pytest.mark.parametrize("ca", ["other.pem", None])
async def test_a_certificate_of_an_unknown_authority_is_named(
    made: Fleet, authority: Path, ca: str | None
) -> None:
    reason = await reason_of(made.url, None if ca is None else authority.with_name(ca))
    assert reason.startswith(f"cannot connect to {made.url}/mqtt: certificate verify failed: ")
    assert reason.endswith("name the authority that signed the broker's certificate with --ca")


@WHOLE
@needs_mosquitto
@pytest.mark.slow
@pytest.mark.parametrize("made", ["elsewhere.example"], indirect=True)
async def test_a_certificate_of_another_host_is_named(made: Fleet, authority: Path) -> None:
    reason = await reason_of(made.url, authority)
    assert "certificate is not valid for 'localhost'" in reason
    assert reason.endswith("connect by a name that the broker's certificate has")


@WHOLE
@needs_mosquitto
@pytest.mark.slow
async def test_a_command_with_a_wrong_certificate_names_it(made: Fleet) -> None:
    done = made.alone("orders", "list", "--mqtt", made.url, "--reply-timeout", "5")
    assert done.returncode != 0
    assert "certificate verify failed" in done.stderr
    assert "--ca" in done.stderr


def verification_error(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "")
    error.verify_code, error.verify_message = code, "the reason"
    return error


def wrong_version() -> ssl.SSLError:
    error = ssl.SSLError(1, "wrong version number")
    error.reason = "WRONG_VERSION_NUMBER"
    return error


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (verification_error(10), "certificate verify failed: the reason: renew the broker's"),
        (verification_error(9), "set this machine's clock"),
        (verification_error(20), "with --ca"),
        (verification_error(64), "connect by a name"),
        (wrong_version(), "no TLS on this port: write mqtt:// or ws://"),
        (WebsocketConnectionError("WebSocket handshake error"), "at this port and path"),
        (OSError("[Errno 111] Connection refused"), "Connection refused"),
        (None, "another protocol"),
    ],
)
def test_what_to_do_about_a_failed_connection(cause: Exception | None, expected: str) -> None:
    # As aiomqtt raises it.
    error = aiomqtt.MqttError(TIMED_OUT if cause is None else str(cause))
    error.__cause__ = cause
    assert expected in connection_problem(error)
