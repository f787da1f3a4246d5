"""The files of deploy/: units, image, compose file, broker and dashboard, checked without them."""

from __future__ import annotations

import ast
import contextlib
import json
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from tests.support.command import ROOT
from tests.support.control_plane_harness import ControlPlaneHarness, FakeWorker, request
from worker.cli.groups import LazyGroup
from worker.cli.main import cli
from worker.fleet.control.plane_metrics import Measurements, take_survey
from worker.fleet.control.policy import read_policy
from worker.fleet.histogram import Histogram
from worker.fleet.messaging.broker import free_port
from worker.fleet.metrics import Distribution

DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
OURS = [name for name, service in COMPOSE["services"].items() if service.get("build")]


def check_command(words: list[str]) -> dict[str, Any]:
    """Parse a command of `worker` as it would be; return the values of its options."""
    context, command = click.Context(cli), cli
    while isinstance(command, LazyGroup):
        found = command.get_command(context, words[0])
        assert found is not None, f"unknown command {words[0]}"
        command, words = found, words[1:]  # type: ignore[assignment]
    with command.make_context("worker", list(words)) as parsed:
        return dict(parsed.params)


# --- systemd --------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_the_commands_of_a_unit_are_valid(unit: Path) -> None:
    lines = re.findall(r"^ExecStart(?:Pre)?=/opt/worker/bin/worker (.*)$", unit.read_text(), re.M)
    assert lines
    for line in lines:
        check_command(shlex.split(line.replace("%i", "north")))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_accepts_a_unit(unit: Path, tmp_path: Path) -> None:
    # The program has to exist for systemd: it is none of the unit's faults that it does not here.
    text = unit.read_text().replace("/opt/worker/bin/worker", shutil.which("true") or "/bin/true")
    name = unit.name.replace("@.", "@north.")
    (tmp_path / name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / name], capture_output=True, text=True
    )
    complaints = [line for line in done.stderr.splitlines() if name in line or "worker" in line]
    assert not complaints, done.stderr


# --- the image ------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", DOCKERFILE)
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in lines]


def test_the_image_is_built_in_stages_and_runs_as_no_root() -> None:
    known = {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "STOPSIGNAL", "ENTRYPOINT",
             "CMD"}  # fmt: skip
    names = [name for name, _ in instructions()]
    assert set(names) <= known and names.count("FROM") == 2
    last = instructions()[len(names) - names[::-1].index("FROM") - 1 :]
    users = [value for name, value in last if name == "USER"]
    assert users and users[-1].split(":")[0] not in ("root", "0")
    assert not any(name == "RUN" and "pip install" in value for name, value in last)
    assert json.loads(dict(last)["ENTRYPOINT"]) == ["worker"]


def test_the_image_copies_what_exists_and_prepares_the_engine() -> None:
    for name, value in instructions():
        if name == "COPY" and "--from" not in value:
            *sources, _ = value.split()
            assert all((ROOT / source).exists() for source in sources), value
    runs = [value for name, value in instructions() if name == "RUN"]
    prepared = [value for value in runs if "engine prepare" in value]
    assert prepared
    check_command(["engine", "prepare"])
    extras = re.search(r'"\.\[([\w,]+)\]"', DOCKERFILE)
    assert extras is not None
    known = (ROOT / "pyproject.toml").read_text()
    for extra in extras[1].split(","):
        assert re.search(rf"^{extra} = \[", known, re.MULTILINE), extra


# --- compose --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OURS)
def test_a_service_has_a_valid_command_and_no_rights(name: str) -> None:
    service = COMPOSE["services"][name]
    check_command(service["command"])
    assert service["read_only"] and service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "WORKER_MQTT_PASSWORD" not in service["environment"], "it stands in a secret file"
    assert service["environment"]["WORKER_MQTT"].startswith("mqtts://")


def test_the_files_and_volumes_of_the_services_exist() -> None:
    volumes = set(COMPOSE["volumes"])
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            if not source.startswith("."):
                assert source in volumes
            elif not source.startswith("./secrets"):
                assert (DEPLOY / source).exists(), source
        for other in service.get("depends_on", ()):
            assert other in COMPOSE["services"]


def test_the_grace_of_a_worker_covers_the_timeout_of_its_runs() -> None:
    for name in ("north", "south"):
        assert int(COMPOSE["services"][name]["stop_grace_period"].removesuffix("s")) > 300


def test_the_access_list_is_that_of_the_command_and_has_the_users() -> None:
    text = (DEPLOY / "mosquitto/acl").read_text()
    assert text == (ROOT / "worker/fleet/messaging/mosquitto.acl").read_text()
    users = set(re.findall(r"^user (\w+)$", text, re.MULTILINE))
    for service in (COMPOSE["services"][name] for name in OURS):
        user = re.match(r"mqtts://(\w+)@", service["environment"]["WORKER_MQTT"])
        assert user is not None and user[1] in users


def test_the_policy_is_read() -> None:
    assert read_policy(DEPLOY / "policy.yaml").of("clinic").placement == {"north"}


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.timeout(60)
@pytest.mark.skipif(shutil.which("mosquitto") is None, reason="needs mosquitto")
def test_the_broker_starts_with_its_certificates(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    script = ["sh", str(DEPLOY / "certificates.sh"), str(secrets)]
    made = subprocess.run(script, capture_output=True, text=True, timeout=60)
    assert made.returncode == 0, made.stderr
    conf = (DEPLOY / "mosquitto/mosquitto.conf").read_text()
    port = free_port()
    conf = conf.replace("listener 8883", f"listener {port} 127.0.0.1")
    conf = conf.replace("/mosquitto/tls", str(secrets / "tls"))
    conf = conf.replace("/mosquitto/config/passwords", str(secrets / "passwords"))
    conf = conf.replace("/mosquitto/config/acl", str(DEPLOY / "mosquitto/acl"))
    conf = conf.replace("/mosquitto/data", str(tmp_path)) + "user root\n"
    (tmp_path / "mosquitto.conf").write_text(conf)
    command = ["mosquitto", "-c", str(tmp_path / "mosquitto.conf")]
    context = ssl.create_default_context(cafile=str(secrets / "tls/ca.pem"))
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as broker:
        try:
            wait_for_port(port, broker)
            with (
                socket.create_connection(("localhost", port), timeout=10) as plain,
                context.wrap_socket(plain, server_hostname="localhost") as secured,
            ):
                assert secured.version() in ("TLSv1.2", "TLSv1.3")
        finally:
            broker.terminate()


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a process listens on a port of this machine, or has ended."""
    while process.poll() is None:
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.02)
    pytest.fail("the broker has ended")


# --- metrics --------------------------------------------------------------------------------------


def exported() -> set[str]:
    """Return the names of all metrics that the processes of a fleet export."""
    names: set[str] = set()
    for path in ("worker/fleet/control/plane_metrics.py", "worker/cli/control_process.py",
                 "worker/cli/worker_process.py", "worker/fleet/metrics.py"):  # fmt: skip
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                names |= names_of(node.func.id, {key.arg: key.value for key in node.keywords})
    return names


def names_of(kind: str, arguments: dict[str | None, ast.expr]) -> set[str]:
    """Return the names of the series of a metric, from the arguments that make it."""
    name = arguments.get("name")
    if kind not in ("Metric", "Distribution") or not isinstance(name, ast.Constant):
        return set()
    series = f"worker_{name.value!s}"
    if kind == "Distribution":
        return {f"{series}_{end}" for end in ("bucket", "sum", "count")}
    return {f"{series}_total" if "counts" in arguments else series}


def test_the_dashboard_and_the_documentation_have_all_metrics_and_no_others() -> None:
    dashboard = json.loads((DEPLOY / "grafana/dashboard.json").read_text())
    text = " ".join(t["expr"] for panel in dashboard["panels"] for t in panel["targets"])
    used = set(re.findall(r"\bworker_\w+", text))
    assert len(used) > 20
    assert used <= exported(), used - exported()
    end = re.compile(r"_(bucket|sum|count)$")
    names = {end.sub("", name) for name in exported()}
    assert names == {end.sub("", name) for name in used}, "a metric has no panel"
    documented = (ROOT / "docs/how-to/operate.md").read_text().partition("## Metrics")[2]
    assert names <= set(re.findall(r"`(worker_\w+)`", documented))
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    places = [tuple(panel["gridPos"].items()) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places)


def test_what_a_plane_measures_is_exported(harness: ControlPlaneHarness) -> None:
    measured = Measurements()
    harness.submit("waiting", project="north", not_before=harness.now + 10**9)
    harness.submit("o", project="north")
    worker = FakeWorker(harness)
    worker.birth(capacity=3)
    (assigned,) = worker.claim()
    harness.now += 2_000_000
    measured.add(harness.processor.process([worker.message(
        "start", incarnation="i1", leases=[assigned.lease])], harness.now))  # fmt: skip
    harness.now += 1_000_000
    with harness.store.read() as connection:
        measured.survey = take_survey(connection, harness.now)
    measured.add_batch(3, 0.02)
    values = {metric.name: metric for metric in measured.metrics()}
    assert values["queue_runs"].values == {"north,delayed": 1, "north,started": 1}  # type: ignore[union-attr]
    assert values["queue_oldest_seconds"].values["north,started"] >= 3  # type: ignore[union-attr]
    assert values["worker_slots"].values == {"": 3}  # type: ignore[union-attr]
    latency = values["start_latency_seconds"]
    assert isinstance(latency, Distribution) and 2 <= latency.histogram.total < 2.1
    harness.send(request("cancel", id="waiting"))


def test_a_histogram_counts_by_upper_bounds() -> None:
    histogram = Histogram((1.0, 10.0))
    for value in (0.5, 1.0, 1.1, 100, -3):
        histogram.observe(value)
    assert histogram.buckets() == [("1.0", 3), ("10.0", 4), ("+Inf", 5)]
    assert histogram.total == 102.6
