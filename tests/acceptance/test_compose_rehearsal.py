"""The services of deploy/compose.yaml without containers: TLS, passwords, policy and PostgreSQL.

Each command and each configuration file is that of the compose file; the paths of its volumes are
replaced by those of the host, and the names of its services by addresses of this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import yaml

from tests.support.command import ROOT
from tests.support.databases import Postgres, postgres_binaries
from tests.support.triggers import triggered_workflow
from worker.fleet.client import Client
from worker.fleet.connect import connect
from worker.fleet.control_errors import ControlError
from worker.fleet.messaging.broker import free_port

DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
POSTGRES = postgres_binaries()
START_S = 60

pytestmark = [
    pytest.mark.slow,
    pytest.mark.broker,
    pytest.mark.timeout(180),
    pytest.mark.skipif(
        not (POSTGRES and shutil.which("mosquitto") and shutil.which("openssl")),
        reason="needs mosquitto, openssl and PostgreSQL",
    ),
]


class Rehearsal:
    """The services as processes; ``ports`` are theirs by the name of the service."""

    def __init__(self, folder: Path, store: str) -> None:
        self._folder, self._store = folder, store
        self._secrets = folder / "secrets"
        self._processes: list[subprocess.Popen[bytes]] = []
        self.ports = {name: free_port() for name in SERVICES}

    def __enter__(self) -> Self:
        script = ["sh", str(DEPLOY / "certificates.sh"), str(self._secrets)]
        subprocess.run(script, check=True, capture_output=True, timeout=60)
        return self

    def __exit__(self, *reason: object) -> None:
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            process.kill()
            process.wait()

    def start(self, name: str, command: list[str], **environment: str) -> None:
        with (self._folder / f"{name}.log").open("wb") as log:
            variables = {**os.environ, **environment}
            self._processes.append(subprocess.Popen(command, env=variables, stderr=log, stdout=log))

    def on_host(self, name: str, text: str) -> str:
        """Replace the paths of the containers of a service by those that are mounted there."""
        for volume in SERVICES[name]["volumes"]:
            source, target = volume.split(":")[:2]
            if source.startswith("./secrets"):
                path = self._secrets / source.removeprefix("./secrets/")
            elif source.startswith("."):
                path = DEPLOY / source
            else:
                path = self._folder / source
                path.mkdir(exist_ok=True)
            assert path.exists(), f"{name}: {source} does not exist"
            text = text.replace(target, str(path))
        return text

    def start_broker(self) -> None:
        conf = self.on_host("broker", (DEPLOY / "mosquitto/mosquitto.conf").read_text())
        conf = conf.replace("listener 8883", f"listener {self.ports['broker']} 127.0.0.1")
        # The broker's image has a user of its own, which can read nothing of this folder.
        file = self._folder / "mosquitto.conf"
        file.write_text(f"{conf}user root\n")
        assert " /mosquitto/" not in conf, "a path that no volume has"
        self.start("broker", ["mosquitto", "-c", str(file)])

    def start_ours(self, name: str) -> None:
        service = SERVICES[name]
        command = [self.on_host(name, word) for word in service["command"]]
        command = [
            word.replace("0.0.0.0:9464", f"127.0.0.1:{self.ports[name]}") for word in command
        ]
        environment = dict(service["environment"])
        for file in service["env_file"]:
            environment |= self._variables(file.removeprefix("./secrets/"))
        environment["WORKER_MQTT"] = self._url(environment["WORKER_MQTT"])
        if "WORKER_STORE" in environment:
            environment["WORKER_STORE"] = self._store
        self.start(name, [sys.executable, "-m", "worker", *command], **environment)

    def check_health(self, name: str) -> bool:
        """Run the command that checks the health of a service."""
        _, program, *arguments = SERVICES[name]["healthcheck"]["test"]
        assert program == "python"
        words = [word.replace(":9464", f":{self.ports[name]}") for word in arguments]
        return subprocess.run([sys.executable, *words], capture_output=True).returncode == 0

    def client(self, user: str) -> Client:
        (password,) = self._variables(f"{user}.env").values()
        url = self._url(f"mqtts://{user}:{password}@broker:8883")
        return connect(url, ca=self._secrets / "tls/ca.pem", wait_s=START_S)

    def _url(self, url: str) -> str:
        return url.replace("broker:8883", f"localhost:{self.ports['broker']}")

    def _variables(self, file: str) -> dict[str, str]:
        lines = (self._secrets / file).read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def logs(self) -> str:
        files = sorted(self._folder.glob("*.log"))
        return "\n".join(f"--- {file.name}\n{file.read_text()[-2000:]}" for file in files)


@pytest.fixture
def rehearsal(tmp_path: Path) -> Iterator[Rehearsal]:
    assert POSTGRES is not None
    with Postgres(POSTGRES) as database, Rehearsal(tmp_path, database.empty()) as made:
        made.start_broker()
        for name, service in SERVICES.items():
            if service.get("build"):
                made.start_ours(name)
        yield made


async def test_the_services_of_the_compose_file_are_a_fleet(
    rehearsal: Rehearsal, tmp_path: Path
) -> None:
    try:
        await _use(rehearsal, tmp_path / "project.yaml")
    except (Exception, asyncio.CancelledError) as error:
        error.add_note(rehearsal.logs())
        raise


async def _use(rehearsal: Rehearsal, project: Path) -> None:
    async with rehearsal.client("operator") as operator, rehearsal.client("alice") as alice:
        with pytest.raises(ControlError, match="'Triage' is taken by --workflows"):
            await operator.deploy(ROOT / "graphs/triage.yaml")
        workflow = triggered_workflow("Extra", "fn(s => s)", {"call": {"type": "webhook"}})
        project.write_text(yaml.safe_dump({"workflows": {"extra": workflow}}))
        deployed = await operator.deploy(project)
        assert deployed and all(each["changed"] for each in deployed)
        with pytest.raises(ControlError, match="may not deploy"):
            await alice.deploy(project)
        order = await alice.submit(workflow="Referral", input={"data": {}}, project="clinic")
        run = await alice.wait(order["last_run"])
        # The policy places the project in the north; the run itself may fail as it wishes.
        assert run["worker"] == "north" and run["status"] in ("success", "failed")
        assert {worker["name"] for worker in await alice.workers()} == {"north", "south"}
        assert await asyncio.to_thread(rehearsal.check_health, "control-plane")
