"""Rights of users on a broker: the shipped access list, TLS, forged messages."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme

import worker.fleet.messaging
from tests.support.fleets import Fleet, FleetProcess, fleet, needs_mosquitto
from tests.support.helpers import job, workflow
from worker.fleet.client import Client, client_name
from worker.fleet.control_errors import NoAnswer
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.address import parse_address
from worker.fleet.messaging.bus import Connected, Message
from worker.fleet.messaging.client_messages import Empty
from worker.fleet.messaging.mqtt import MqttBus
from worker.fleet.messaging.topics import Topics
from worker.fleet.messaging.worker_protocol import Attempt, Command, Lease, Reports, RunReport
from worker.workflow.save import to_execution_plan

pytestmark = [needs_mosquitto, pytest.mark.slow, pytest.mark.xdist_group("fleet")]

ACL = Path(worker.fleet.messaging.__file__).parent / "mosquitto.acl"
USERS = ("control", "north", "south", "alice", "intake", "superuser")
TOPICS = Topics()
WAITS = "fn(state => new Promise(done => setTimeout(() => done(state), 60000)))"


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Fleet]:
    """A fleet on a broker with passwords and the access list."""
    passwords = tmp_path / "passwords"
    passwords.touch(mode=0o600)
    for user in USERS:
        subprocess.run(["mosquitto_passwd", "-b", passwords, user, f"of-{user}"], check=True)
    access = f"allow_anonymous false\npassword_file {passwords}\nacl_file {ACL}"
    with fleet(tmp_path, access=access) as found:
        yield found


def url_of(made: Fleet, user: str) -> str:
    return f"mqtt://{user}:of-{user}@127.0.0.1:{made.broker.port}"


def started(made: Fleet) -> tuple[FleetProcess, FleetProcess]:
    control = FleetProcess(
        made.folder, "control", "control-plane", "--mqtt", url_of(made, "control"),
        "--store", f"sqlite:///{made.folder}/orders.db",
    )  # fmt: skip
    north = FleetProcess(
        made.folder, "north", "start", "--mqtt", f"mqtt://north@127.0.0.1:{made.broker.port}",
        "--name", "north", "--outbox", str(made.folder / "north"), WORKER_MQTT_PASSWORD="of-north",
    )  # fmt: skip
    made.processes += [control, north]
    return control, north


async def send(bus: MqttBus, topic: str, shape: Any) -> None:
    bus.publish(Message(topic=topic, payload=wire.encode(shape)))


async def connected(bus: MqttBus) -> None:
    while Connected() not in await bus.receive():
        pass


async def test_a_worker_neither_receives_nor_forges_messages_of_another(made: Fleet) -> None:
    control, _ = started(made)
    alice = made.client(url=url_of(made, "alice"), wait_s=60)
    spy = MqttBus(parse_address(url_of(made, "south")), "worker/v1/#")
    async with alice, made.listener(url_of(made, "control")) as listener, spy:
        await connected(spy)
        order = await alice.submit(plan=to_execution_plan(workflow(job(WAITS))))
        run_id = order["last_run"]
        await listener.until(f"{run_id}/state", lambda one: one["status"] == "running")
        [assigned] = [one for one in listener.messages("north/rsp") if one["type"] == "runs"]
        lease = wire.decode(Lease, wire.encode(assigned["runs"][0]["lease"]))
        complete = {
            "type": "run:complete",
            "run_id": run_id,
            "seq": 1,
            "timestamp": 1,
            "reason": "success",
        }
        report = RunReport(lease=lease, events=[msgspec.Raw(msgspec.json.encode(complete))])
        forged = Reports(number=1, runs=[report])
        # As north: the broker does not let it through. As itself: the lease is north's.
        await send(spy, TOPICS.worker("north", "reports"), forged)
        await send(
            spy,
            TOPICS.worker("north", "cmd"),
            Command(cancel=[Attempt(run_id=run_id, attempt=1)]),
        )
        await send(spy, TOPICS.run(run_id, "state"), Empty())
        await send(spy, TOPICS.worker("south", "reports"), forged)
        await listener.until("south/rsp", lambda one: one["acks"][0]["refused"])
        assert [one for one in listener.received if one.topic.endswith(("north/cmd",))] == []
        assert listener.statuses(run_id) == ["pending", "running"]
        # What south could hear of all that: the answer to its own report, and who is there.
        heard = {one.topic for one in await spy.receive() if isinstance(one, Message)}
        assert heard <= {TOPICS.worker("south", "rsp"), TOPICS.control}
        await alice.cancel(run_id)
        assert (await alice.wait(run_id))["status"] == "cancelled"
    [refused] = [one for one in control.log_entries() if one["event"] == "message.refused"]
    assert (refused["kind"], refused["topic"]) == ("forged", TOPICS.worker("south", "reports"))


async def test_a_client_does_what_its_user_may(made: Fleet) -> None:
    started(made)
    async with made.client(url=url_of(made, "intake"), wait_s=60) as intake:
        order = await intake.submit(plan=to_execution_plan(workflow(job("fn(state => state)"))))
        assert order["status"] == "pending"
    async with made.client(url=url_of(made, "intake"), wait_s=1.5) as intake:
        with pytest.raises(NoAnswer):
            await intake.cancel(order["order_id"])
    async with made.client(url=url_of(made, "north"), wait_s=1.5) as worker_:
        with pytest.raises(NoAnswer):
            await worker_.submit(plan=to_execution_plan(workflow(job("fn(state => state)"))))
    wrong = f"mqtt://alice:wrong@127.0.0.1:{made.broker.port}"
    async with made.client(url=wrong, wait_s=1.5) as stranger:
        with pytest.raises(NoAnswer, match=r"[Nn]ot authorized|[Bb]ad user"):
            await stranger.summary()


async def test_an_answer_goes_to_clients_alone(tmp_path: Path) -> None:
    """A reply elsewhere could command workers, or forge the state of a run."""
    with fleet(tmp_path) as made:
        control = made.control()
        async with made.listener() as listener, made.client(wait_s=60) as client:
            await client.summary()
            bus = MqttBus(parse_address(made.url))
            async with bus:
                await connected(bus)
                for target in (
                    TOPICS.worker("north", "cmd"),
                    TOPICS.run("r", "state"),
                    "elsewhere",
                    TOPICS.client("+"),
                    "worker/v1/clients/a/b/rsp",
                    "",
                ):
                    bus.publish(
                        Message(
                            topic=TOPICS.request("summary"),
                            payload=b"{}",
                            reply_to=target,
                            correlation=b"x",
                        )
                    )
                bus.publish(
                    Message(
                        topic=TOPICS.request("summary"),
                        payload=b"{}",
                        reply_to=TOPICS.client("me"),
                        correlation=b"x",
                    )
                )
                await listener.until("clients/me/rsp", lambda one: "ok" in one)
        topics = {one.topic for one in listener.received}
        assert not any(one.endswith("north/cmd") or "/runs/" in one for one in topics)
        assert [
            one["kind"] for one in control.log_entries() if one["event"] == "message.refused"
        ] == ["reply_topic"] * 6


# paho leaves the socket of a handshake that failed to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_tls_with_client_certificates(tmp_path: Path) -> None:
    authority, other = trustme.CA(), trustme.CA()
    server, client = authority.issue_cert("localhost"), authority.issue_cert("worker@example.org")
    for name, pem in (
        ("ca.pem", authority.cert_pem),
        ("server.pem", server.cert_chain_pems[0]),
        ("server.key", server.private_key_pem),
        ("client.pem", client.cert_chain_pems[0]),
        ("client.key", client.private_key_pem),
        ("other.pem", other.cert_pem),
    ):
        pem.write_to_path(tmp_path / name)
    tls = (
        f"cafile {tmp_path}/ca.pem\ncertfile {tmp_path}/server.pem\nkeyfile {tmp_path}/server.key\n"
        "require_certificate true\nallow_anonymous true"
    )
    with fleet(tmp_path, access=tls) as made:
        url = f"mqtts://localhost:{made.broker.port}"
        certificates = (
            "--ca", f"{tmp_path}/ca.pem", "--cert", f"{tmp_path}/client.pem", "--key", f"{tmp_path}/client.key",
        )  # fmt: skip
        made.url = url
        made.control(*certificates)
        made.worker("north", *certificates)
        where = parse_address(
            url, ca=tmp_path / "ca.pem", cert=tmp_path / "client.pem", key=tmp_path / "client.key"
        )
        name = client_name()
        async with Client(MqttBus(where, id=name), name=name, wait_s=60) as alice:
            order = await alice.submit(plan=to_execution_plan(workflow(job("fn(state => state)"))))
            assert (await alice.wait(order["last_run"]))["status"] == "success"
        stranger = Client(MqttBus(parse_address(url, ca=tmp_path / "other.pem")), wait_s=1.5)
        async with stranger:
            with pytest.raises(NoAnswer, match="certificate verify failed"):
                await stranger.summary()
        uncertified = Client(MqttBus(parse_address(url, ca=tmp_path / "ca.pem")), wait_s=1.5)
        async with uncertified:
            with pytest.raises(NoAnswer):
                await uncertified.summary()
