"""Options from the environment, and from files of the current folder, which may be hostile."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from worker.cli import option_sources
from worker.cli.main import cli

from .test_command import COMMANDS

WORKFLOW = "workflow: {name: w, steps: [{id: a, expression: 'export default [s => s]'}]}"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "own"))
    option_sources._read_env.cache_clear()
    option_sources._read_toml.cache_clear()
    (tmp_path / "w.yaml").write_text(WORKFLOW)
    return tmp_path


def validate(*arguments: str) -> Result:
    # A command that reads no more than its options and the file.
    return CliRunner().invoke(cli, ["graph", "w.yaml", *arguments], prog_name="worker")


@pytest.mark.parametrize(
    ("files", "variable", "arguments", "expected"),
    [
        ({}, "", [], "flowchart"),
        ({"worker.toml": "[graph]\nformat = 'dot'"}, "", [], "digraph"),
        ({"pyproject.toml": "[tool.worker.graph]\nformat = 'dot'"}, "", [], "digraph"),
        ({"own/worker/worker.toml": "[graph]\nformat = 'dot'"}, "", [], "digraph"),
        ({".env": "WORKER_GRAPH_FORMAT=dot # a comment"}, "", [], "digraph"),
        ({".env": "export WORKER_GRAPH_FORMAT='dot'"}, "", [], "digraph"),
        (
            {"worker.toml": "[graph]\nformat = 'svg'", ".env": "WORKER_GRAPH_FORMAT=dot"},
            "", [], "digraph",
        ),
        ({".env": "WORKER_GRAPH_FORMAT=svg"}, "dot", [], "digraph"),
        ({}, "svg", ["--format", "dot"], "digraph"),
    ],
)  # fmt: skip
def test_the_order_is_option_environment_env_file_toml_own_file(
    files: dict[str, str], variable: str, arguments: list[str], expected: str, folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    write(folder, files)
    if variable:
        monkeypatch.setenv("WORKER_GRAPH_FORMAT", variable)
    done = validate(*arguments)
    assert done.exit_code == 0 and expected in done.output, done.output


HOSTILE = [
    ("run", "allow-host", '["evil.example"]'),
    ("run", "isolation", '"runner"'),
    ("start", "allow-python", "true"),
    # Whoever has the broker sends jobs that log the worker's credentials, a letter a line.
    ("start", "mqtt", '"mqtt://evil.example"'),
    ("control-plane", "mqtt", '"mqtt://evil.example"'),
    ("control-plane", "alert-command", '"curl evil.example"'),
    ("control-plane", "alert-webhook", '"http://evil.example"'),
    ("control-plane", "store", '"sqlite:////tmp/x"'),
    ("dashboard", "host", '"0.0.0.0"'),
    ("run", "credentials", '"/etc/shadow"'),
    # Also one of the folder: the hosts that it names would be open, private ones too.
    ("run", "credentials", '"credentials.json"'),
    ("run", "state-path", '"input.json"'),
    ("run", "input-json", "'{}'"),
    ("control-plane", "policy", '"policy.yaml"'),
    ("start", "max-memory", "100000"),
    ("dev", "max-timeout", "86400"),
    ("test", "cluster", '"tcp://evil.example:8786"'),
    ("explore", "cluster", '"tcp://evil.example:8786"'),
    ("dev", "webhooks", '"0.0.0.0:80"'),
    ("control-plane", "open-webhooks", "true"),
    ("control-plane", "webhook-auth", '"auth.yaml"'),
    ("dashboard", "read-token-file", '"token"'),
    ("retry", "yes", "true"),
    ("replay", "from-store", '"postgresql://db.example/fleet"'),
    ("replay", "output", '"s3://bucket.example/results.jsonl"'),
    ("start", "record", '"s3://bucket.example/runs"'),
    ("run", "journal", '"../journal.jsonl"'),
    ("run", "output", '"/tmp/overwritten"'),
    ("run", "record", '"on-failure:/tmp"'),
    ("run", "record", '"on-failure:../.."'),
    ("test", "record", '"on-failure:.."'),
    ("test", "write-cases", '["ok.yaml", "../cases.yaml"]'),
    ("run", "record", '"~root/x/../../../etc/x"'),
]


@pytest.mark.parametrize(("command", "option", "value"), HOSTILE)
def test_what_opens_something_is_not_read_from_a_folder(
    command: str, option: str, value: str, folder: Path
) -> None:
    arguments = [command, "w.yaml"] if command in ("run", "explore", "replay") else [command]
    write(folder, {"worker.toml": f"[{command}]\n{option} = {value}"})
    done = CliRunner().invoke(cli, arguments, prog_name="worker")
    text = f"{done.output}{done.exception}"
    assert done.exit_code != 0 and "worker.toml" in text
    assert "is not read from files of a folder" in text or "is outside of this folder" in text


# Everything else: decided to be harmless in a file of somebody else's folder. Paths in it stay
# inside, and a broker does not get the password.
HARMLESS = """
aborts acl adaptor against all ask asyncapi batch-logs beyond ca cache-steps capacity case cert
cloudevents core-price coverage dashboard-port debug disconnect-grace drain draw dry-run fail-on
fail-under file-limit flaky follow format from fuel fuel-limit html input input-of inputs jobs journal
json junit k key label latest lease limit list log logs lost-retries memory migrate
minutes mqtt mutate name no-dashboard no-python not-before only open order-id orders outbox
output output-stdout over-limit packet-limit payload payload-limit permissive-globals placement
planes port priority profile project quiet rate record recordings ref replay reply-timeout
results retain-days retries retry-after retry-from retry-on run-time sanitize schema scrub
search seconds seed seeds shared since size slots standby start-at start-by state state-expiry
state-limit status stop-after synthetic tag timeout to-version topic-prefix triggers unique
until update wait watch worker workflow workflow-file workflows write-cases
"""


def test_somebody_decided_on_each_option_if_a_folder_may_set_it() -> None:
    """A new option fails here until it is in OPENING or above."""
    names = {
        option_sources.option_name(param)
        for command in COMMANDS.values()
        for param in command.params
        if isinstance(param, click.Option)
    }
    harmless = set(HARMLESS.split())
    assert names == option_sources.OPENING | harmless
    assert not option_sources.OPENING & harmless


def test_a_broker_of_a_folder_does_not_get_the_password(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, {".env": "WORKER_MQTT=mqtt://evil.example"})
    monkeypatch.setenv("WORKER_MQTT_PASSWORD", "secret")
    monkeypatch.delenv("WORKER_MQTT", raising=False)
    done = CliRunner().invoke(cli, ["runs"], prog_name="worker")
    assert "does not get the password" in str(done.exception)


@pytest.mark.parametrize("command", ["start", "control-plane"])
@pytest.mark.parametrize(
    "files",
    [
        {".env": "WORKER_MQTT=mqtt://evil.example"},
        {"worker.toml": "mqtt = 'mqtt://evil.example'"},
        {"pyproject.toml": "[tool.worker]\nmqtt = 'mqtt://evil.example'"},
    ],
    ids=list,
)
def test_a_broker_of_a_folder_commands_nobody(
    command: str, files: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads the credentials of a worker that is started in a checkout, by jobs of its own."""
    write(folder, files)
    monkeypatch.delenv("WORKER_MQTT", raising=False)
    done = CliRunner().invoke(cli, [command], prog_name="worker")
    assert "'mqtt' is not read from files of a folder" in str(done.exception)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"worker.toml": "[graph]\nformat = 'x'"}, "worker.toml [graph]: unknown value 'x'"),
        ({"worker.toml": "[graph]\nfromat = 'dot'"}, "did you mean 'format'?"),
        ({"worker.toml": "[graph\n"}, "worker.toml: not TOML"),
        ({".env": "A=1\nWORKER_GRAPH_FORMAT=x"}, ".env:2 (WORKER_GRAPH_FORMAT): unknown value"),
    ],
)
def test_a_wrong_value_is_an_error_with_its_place(
    files: dict[str, str], message: str, folder: Path
) -> None:
    write(folder, files)
    done = validate()
    assert message in f"{done.output}{done.exception}"


def test_a_misspelt_variable_is_named_with_its_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, {".env": "\nWORKER_GRAPH_FROMAT=dot\nWORKER_OTHER=1"})
    monkeypatch.setenv("WORKER_GRAPH_OUTPTU", "x")
    warnings = [line for line in validate().stderr.splitlines() if line.startswith("warning: ")]
    assert warnings == [
        "warning: WORKER_GRAPH_FROMAT (.env:2) is not read; did you mean WORKER_GRAPH_FORMAT?",
        "warning: WORKER_GRAPH_OUTPTU is not read; did you mean WORKER_GRAPH_OUTPUT?",
    ]


def test_config_prints_what_is_set_and_the_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, {"worker.toml": "mqtt = 'mqtt://a:se:cr/et@h'\n[run]\nallow-host = ['x']"})
    monkeypatch.delenv("WORKER_MQTT", raising=False)
    hook = "https://hooks.example/services/T0/aB3dE5fG7hI9jK1"
    monkeypatch.setenv("WORKER_CONTROL_PLANE_ALERT_WEBHOOK", hook)
    monkeypatch.setenv("WORKER_RUN_TIMEOUT", "5m")
    done = CliRunner().invoke(cli, ["config"], prog_name="worker")
    assert "WORKER_RUN_TIMEOUT" in done.output and "mqtt://a:…@h" in done.output
    assert "cr/et" not in done.output and "se:" not in done.output and "refused" in done.output
    assert "https://hooks.example/services/T0/***" in done.output


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
