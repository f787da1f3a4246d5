"""The keys of every ``--json`` are those that the reference documents."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import worker
from tests.support.command import call_worker
from tests.support.fake_adaptors import store_bundle
from tests.support.helpers import workflow
from worker.cli.printing import print_order, print_run
from worker.cli.runs import _print_with_steps
from worker.workflow.save import to_execution_plan

ROOT = Path(__file__).parents[2]
_ROW = re.compile(r"^\| `(worker [^`]*)`[^|]*\|[^|]*\| (.*) \|$", re.MULTILINE)
STEP = {"id": "a", "expression": "export default [s => s]"}


def documented() -> dict[str, list[str]]:
    """Return the keys in the reference by command."""
    text = (ROOT / "docs/reference/json-output.md").read_text("utf-8")
    return {command: re.findall(r"`(\w+)`", keys) for command, keys in _ROW.findall(text)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "w.yaml").write_text(json.dumps({"name": "w", "steps": [STEP]}))
    run = ("run", "w.yaml", "--record", "r.jsonl", "--quiet")
    assert call_worker(*run, cwd=tmp_path).returncode == 0
    return tmp_path


COMMANDS = {
    "worker replay --json": ("replay", "r.jsonl", "--json"),
    "worker explore --json": ("explore", "w.yaml", "--json"),
    "worker audit --json": ("audit", "r.jsonl", "--json"),
    "worker recording --json": ("recording", "r.jsonl", "--json"),
    "worker diff --format json": ("diff", "w.yaml", "w.yaml", "--format", "json"),
}


@pytest.mark.slow
def test_the_commands_for_files_have_the_documented_keys(folder: Path) -> None:
    keys = documented()
    for name, arguments in COMMANDS.items():
        done = call_worker(*arguments, cwd=folder)
        assert list(json.loads(done.stdout.splitlines()[0])) == keys[name], done.stderr


@pytest.mark.slow
def test_a_finding_has_the_documented_keys(folder: Path) -> None:
    (folder / "w.yaml").write_text('steps: [{id: a, adaptor: http, expression: "get(1)"}]')
    done = call_worker("lint", "w.yaml", "--format", "json", cwd=folder)
    assert (
        list(json.loads(done.stdout.splitlines()[0])) == documented()["worker lint --format json"]
    )


def test_an_adaptor_has_the_documented_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKER_CACHE", str(tmp_path))
    store_bundle("@mine/thing@1.0.0", "globalThis.__adaptor = {};")
    done = call_worker("adaptors", "list", "--json")
    assert list(json.loads(done.stdout)) == documented()["worker adaptors list --json"]


async def answers() -> dict[str, Callable[[], None]]:
    """Run an order in a fleet, and return what prints each answer about it."""
    async with worker.local_fleet() as client:
        order = await client.submit(plan=to_execution_plan(workflow(STEP)), input={})
        await client.wait(order["last_run"])
        await _print_with_steps(client, order["last_run"], as_json=True)
        (listed,), (run,) = await client.orders(), await client.runs()
        workers = await client.workers()
    return {
        "worker orders --json": lambda: print_order(listed, as_json=True),
        "worker runs --json": lambda: print_run(run, as_json=True),
        "worker workers --json": lambda: print(json.dumps(workers[0])),
    }


@pytest.mark.slow
def test_the_commands_of_a_fleet_have_the_documented_keys(
    capsys: pytest.CaptureFixture[str],
) -> None:
    prints = asyncio.run(answers())
    found = {"worker runs show --json": list(json.loads(capsys.readouterr().out))}
    for name, show in prints.items():
        show()
        found[name] = list(json.loads(capsys.readouterr().out))
    keys = documented()
    assert found == {name: keys[name] for name in found}
