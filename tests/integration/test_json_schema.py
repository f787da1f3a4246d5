"""The output of every ``--json`` has the schema that the reference documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import jsonschema
import msgspec
import pytest
from click.testing import CliRunner

import worker
from tests.support.command_fleet import command_fleet
from tests.support.fake_adaptors import store_bundle
from tests.unit.test_command import COMMANDS
from worker.cli.main import cli
from worker.fleet.monitor.changes import format_json

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs/reference/json-output.schema.json").read_text("utf-8"))
pytestmark = pytest.mark.slow

JOB = "export default [s => { console.log('hello'); return s }]"
WORKFLOW = {"name": "flow", "steps": [{"id": "a", "expression": JOB, "next": {"b": "state.n > 1"}},
                                      {"id": "b", "expression": JOB}]}  # fmt: skip
EDITED = {"name": "flow", "steps": [{"id": "a", "expression": JOB, "next": {"c": "state.n > 1"}},
                                    {"id": "c", "expression": JOB}]}  # fmt: skip
FAILING = {"name": "bad", "steps": [
    {"id": "a", "expression": "export default [() => { throw new Error('boom') }]"}]}  # fmt: skip

# What is typed, in order: later commands see what earlier ones made.
FILES = (
    "run w.yaml --json", "run bad.yaml --json", "replay r.jsonl --json", "audit r.jsonl --json",
    "recording show r.jsonl --json", "explore w.yaml --json", "diff w.yaml edited.yaml --json",
    "fuzz w.yaml --from i.json --inputs 20 --json", "lint bad.yaml lint.yaml --format json",
    "adaptors list --json", "doctor --json", "config --json",
)  # fmt: skip
FLEET = (
    "deploy w.yaml --json", "submit w.yaml --order-id o-1 --json",
    # A run that goes on can neither be retried nor erased.
    "submit bad.yaml --order-id o-2 --wait --json",
    "orders submit w.yaml --order-id o-3 --wait --json",
    "orders list --json", "orders show o-2 --json", "runs list --json", "runs show o-2 --json",
    "retry o-2 --wait --json", "orders retry o-2 --wait --json",
    "runs retry o-2 --json",
    "workflows pause flow --json", "submit --ref flow --order-id o-4 --json", "cancel o-4 --json",
    "submit --ref flow --order-id o-5 --json", "orders cancel o-5 --json",
    "submit --ref flow --order-id o-6 --json", "runs cancel o-6 --json",
    "workflows resume flow --json", "workers list --json", "alerts list --json",
    "workflows list --json", "workflows show flow --json", "workflows history flow --json",
    "workflows dead-letters --json", "orders erase o-3 --yes --json",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, content in ("w", WORKFLOW), ("bad", FAILING), ("edited", EDITED):
        (tmp_path / f"{name}.yaml").write_text(json.dumps(content))
    (tmp_path / "i.json").write_text('{"n": 1}')
    (tmp_path / "lint.yaml").write_text('{"steps": [{"id": "a", "boody": "x"}]}')
    CliRunner().invoke(cli, ["run", "w.yaml", "--record", "r.jsonl", "--quiet"])
    monkeypatch.setenv("WORKER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WORKER_RUN_TIMEOUT", "20")
    store_bundle("@mine/thing@1.0.0", "globalThis.__adaptor = {};")
    return tmp_path


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with command_fleet(monkeypatch):
        yield


def lines_of(line: str) -> list[Any]:
    """Run a command; return the objects that it prints."""
    done = CliRunner().invoke(cli, line.split())
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return [json.loads(text) for text in done.stdout.splitlines()]


def check(line: str, lines: list[Any]) -> None:
    name = command_of(line)
    schema = {"$ref": f"#/$defs/{SCHEMA['commands'][name]}", "$defs": SCHEMA["$defs"]}
    validator = jsonschema.Draft202012Validator(schema)
    for content in lines:
        validator.validate(content)
        assert set(content) <= documented(name, content), (line, content)


def command_of(line: str) -> str:
    """Return the words of a line that name its command."""
    words = line.split()
    return " ".join(words[:2] if " ".join(words[:2]) in COMMANDS else words[:1])


def documented(name: str, content: dict[str, Any]) -> set[str]:
    """Return the keys that the schema of a line has, of those alternatives that it matches."""
    return _keys({"$ref": f"#/$defs/{SCHEMA['commands'][name]}"}, content)


def _keys(schema: dict[str, Any], content: dict[str, Any]) -> set[str]:
    if "$ref" in schema:
        return _keys(SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], content)
    keys = set(schema.get("properties", ()))
    for each in (*schema.get("oneOf", ()), *schema.get("anyOf", ())):
        if jsonschema.Draft202012Validator({**each, "$defs": SCHEMA["$defs"]}).is_valid(content):
            keys |= _keys(each, content)
    return keys


def test_every_command_with_json_has_a_schema() -> None:
    assert set(SCHEMA["commands"]) == {
        path for path, command in COMMANDS.items() if has_json(command)
    }
    assert set(SCHEMA["commands"].values()) <= set(SCHEMA["$defs"])
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def has_json(command: click.Command) -> bool:
    """Return whether a command has an option whose output is JSON."""
    options = {name: param for param in command.params for name in param.opts}
    formats = getattr(getattr(options.get("--format"), "type", None), "choices", ())
    return "--json" in options or "json" in formats


def test_the_commands_for_files_print_what_is_documented(folder: Path) -> None:
    for line in FILES:
        lines = lines_of(line)
        assert lines, line
        check(line, lines)


def test_the_commands_of_a_fleet_print_what_is_documented(folder: Path, fleet: None) -> None:
    for line in FLEET:
        lines = lines_of(line)
        assert lines or "alerts" in line or "dead-letters" in line, line
        check(line, lines)


def test_a_worker_with_a_run_is_printed_as_documented(folder: Path, fleet: None) -> None:
    idle = "export default [() => new Promise(() => {})]"
    (folder / "idle.yaml").write_text(json.dumps({"steps": [{"id": "a", "expression": idle}]}))
    lines_of("submit idle.yaml --order-id o-1 --json")
    while not (lines := lines_of("workers list --json"))[0]["leases"]:
        assert lines_of("orders show o-1 --json")[0]["status"] in ("pending", "running")
    check("workers list --json", lines)
    lines_of("cancel o-1 --json")


def test_notifications_are_as_documented() -> None:
    fields = {"run_id": "r", "order_id": "o", "project": "p", "workflow": "w"}
    alert = worker.Alert(**fields, status="lost", at=1)
    check("watch --json", [json.loads(format_json(alert))])
    acknowledged = {**msgspec.to_builtins(alert), "acknowledged": 2, "acknowledged_by": "ann"}
    check("alerts list --json", [acknowledged])
