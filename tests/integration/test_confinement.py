"""Layers of confinement: which are there, who shows them, and who refuses to start without them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

import worker
from tests.support.helpers import job, workflow
from worker.cli.main import cli
from worker.cli.worker_process import log_confinement
from worker.errors import UsageError
from worker.runner.pool import Pool
from worker.sandbox.child.runner import MAX_PROGRAMS
from worker.sandbox.confinement import layers as module
from worker.sandbox.confinement.layers import OPTIONAL, PURPOSES, Layer, layers
from worker.sandbox.isolation import Isolation


def with_missing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let this system lack one layer."""
    each = tuple(
        Layer(layer, purpose, "not in this kernel" if layer == name else "")
        for layer, purpose in PURPOSES.items()
    )
    monkeypatch.setattr(module, "layers", lambda: each)
    monkeypatch.setattr("worker.cli.worker_process.layers", lambda: each)


def test_the_probe_tries_every_layer() -> None:
    assert [layer.name for layer in layers()] == list(PURPOSES)


@pytest.mark.parametrize("name", sorted(PURPOSES.keys() - OPTIONAL))
def test_strict_isolation_needs_each_layer(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with_missing(monkeypatch, name)
    with pytest.raises(UsageError, match=rf"{name} \(not in this kernel\)"):
        Pool(isolation=Isolation.STRICT)
    Pool(isolation=Isolation.PROCESS)


def test_strict_isolation_starts_without_an_optional_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    with_missing(monkeypatch, "namespaces")
    Pool(isolation=Isolation.STRICT)


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "graphs/referral.yaml", "--isolation", "strict"],
        ["start", "--isolation", "strict", "--mqtt", "mqtt://127.0.0.1:1"],
        ["start", "--allow-python", "--mqtt", "mqtt://127.0.0.1:1"],
    ],
    ids=["run", "start", "start with Python steps"],
)
def test_a_command_refuses_to_start(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    with_missing(monkeypatch, "seccomp")
    done = CliRunner().invoke(cli, arguments)
    assert isinstance(done.exception, UsageError)
    assert "needs what this system lacks: seccomp (not in this kernel)" in str(done.exception)


@pytest.mark.parametrize(("name", "code", "mark"), [("landlock", 1, "✗"), ("namespaces", 0, "-")])
def test_the_doctor_names_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, name: str, code: int, mark: str
) -> None:
    with_missing(monkeypatch, name)
    done = CliRunner().invoke(cli, ["doctor"])
    assert done.exit_code == code
    (line,) = [line for line in done.output.splitlines() if "not in this kernel" in line]
    assert line.split()[:2] == [mark, name]
    checks = [
        json.loads(line)
        for line in CliRunner().invoke(cli, ["doctor", "--json"]).output.splitlines()
    ]
    assert {each["section"] for each in checks} == {"confinement", "engine", "cache", "programs"}
    assert [each["name"] for each in checks if each["problem"] == "not in this kernel"] == [name]


class Log:
    """Log that keeps its entries."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str, dict[str, Any]]] = []

    def critical(self, event: str, **fields: Any) -> None:
        self.entries.append(("critical", event, fields))

    def warning(self, event: str, **fields: Any) -> None:
        self.entries.append(("warning", event, fields))

    def info(self, event: str, **fields: Any) -> None:
        self.entries.append(("info", event, fields))


@pytest.mark.parametrize(("name", "level"), [("landlock", "warning"), ("namespaces", "info")])
def test_a_worker_logs_its_layers_at_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, level: str
) -> None:
    with_missing(monkeypatch, name)
    log = Log()
    log_confinement(log)
    ((logged, event, fields),) = log.entries
    assert (logged, event, fields["missing"]) == (
        level,
        "runs.confined",
        {name: "not in this kernel"},
    )
    assert set(fields["layers"]) == PURPOSES.keys() - {name}


def test_python_steps_of_orders_are_off_unless_a_worker_allows_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    allowed: list[bool] = []

    async def run_worker(connection: object, options: Any, *, quiet: bool) -> None:
        allowed.append(options.allowance.allow_python)

    monkeypatch.setattr("worker.cli.worker_process.run_worker", run_worker)
    for option in ([], ["--no-python"], ["--allow-python"]):
        assert CliRunner().invoke(cli, ["start", *option]).exit_code == 0
    assert allowed == [False, False, True]
    both = CliRunner().invoke(cli, ["start", "--allow-python", "--no-python"])
    assert isinstance(both.exception, UsageError)


@pytest.mark.slow
def test_a_runner_has_descriptors_for_all_the_programs_that_it_holds() -> None:
    for number in range(MAX_PROGRAMS + 10):
        result = worker.run(workflow(job(f"fn(() => ({{ number: {number} }}));", "a")), {})
        assert result.final_state == {"number": number}, result.error
