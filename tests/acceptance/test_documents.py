"""The examples of all documents run, and print what the documents show.

A comment above a block names what it is: ``<!-- run -->`` a command with its output (``run 1``: with
this exit code), ``session`` commands that must succeed in order, ``fleet`` the same with processes
in the background, ``python`` a script, ``pytest`` a test, ``file PATH`` a file that the following
blocks need. In an output ``…`` stands for any text, and a line ``...`` for any lines.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import click
import pytest

from tests.support.command import call_worker, start_worker
from worker.cli.main import cli
from worker.core.events import AnyEvent
from worker.core.scripted import FAILURES
from worker.core.status import Status
from worker.fleet.messaging.broker import free_port
from worker.lint.rules import RULES
from worker.replay.importers import import_recording
from worker.testing.case_keys import (
    CASE_KEYS,
    CRON_KEYS,
    EXPECT_KEYS,
    FILE_KEYS,
    RETRY_KEYS,
    STEP_KEYS,
)
from worker.testing.stub_reader import REPLY_KEYS, REQUEST_KEYS, STUB_KEYS

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
WORKER = str(Path(sys.executable).with_name("worker"))
TIMEOUT_S = 100
_BLOCK = re.compile(
    r"<!-- (run|session|fleet|python|pytest|file) ?(\S*) -->\n```\w+\n(.*?)```", re.DOTALL
)
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@dataclass(frozen=True)
class Block:
    """An example of a document; ``argument`` is an exit code or a path."""

    kind: str
    argument: str
    text: str


def blocks(document: Path) -> list[Block]:
    return [Block(*match) for match in _BLOCK.findall(document.read_text("utf-8"))]


def is_slow(path: Path) -> bool:
    # Their commands take seconds. Every day the commands of the other documents are run.
    return path.stem in ("campaigns", "cases", "replay", "first-workflow")


def named(*kinds: str) -> list[Any]:
    """Return the documents that have an example of one of these kinds."""
    return [
        pytest.param(path, id=path.stem, marks=pytest.mark.slow if is_slow(path) else ())
        for path in DOCUMENTS
        if any(block.kind in kinds for block in blocks(path))
    ]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the samples, where examples may write."""
    shutil.copytree(ROOT / "graphs", tmp_path / "graphs")
    return tmp_path


def commands(text: str) -> Iterator[tuple[list[str], list[str]]]:
    """Yield each command's words, and the lines of output that the document shows."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, *output = part.splitlines()
        yield shlex.split(command.partition("  #")[0]), output


def pattern(lines: list[str]) -> str:
    """Return the regular expression of an output."""
    expressions = []
    for line in lines:
        if line == "...":
            expressions.append(r"(?:.*\n)*?")
        else:
            expressions.append(r".*?".join(map(re.escape, line.split("…"))) + r"\s*?\n")
    return "".join(expressions)


@pytest.mark.slow
@pytest.mark.parametrize("path", named("run", "session"))
@pytest.mark.timeout(TIMEOUT_S * 3)
def test_the_commands_of_a_document_print_what_it_shows(path: Path, checkout: Path) -> None:
    for block in blocks(path):
        if block.kind == "file":
            (checkout / block.argument).write_text(block.text)
        if block.kind not in ("run", "session"):
            continue
        for words, shown in commands(block.text):
            assert words[0] == "worker"
            done = call_worker(*words[1:], cwd=checkout)
            context = f"{' '.join(words)}\n{done.stdout}{done.stderr}"
            assert done.returncode == int(block.argument or 0), context
            assert re.search(pattern(shown), f"{done.stdout}\n"), context


def wait_for_port(port: int) -> None:
    """Wait until something listens on a port of this machine."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "nothing listens"
            time.sleep(0.05)
        else:
            return


def write_files(document: Path, folder: Path) -> None:
    """Write the files of a document, which its fleets and scripts need."""
    for block in blocks(document):
        if block.kind == "file":
            (folder / block.argument).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.argument).write_text(block.text)


FLEETS = [(path, block) for path in DOCUMENTS for block in blocks(path) if block.kind == "fleet"]


@pytest.mark.slow
@pytest.mark.broker
@pytest.mark.parametrize(("path", "block"), FLEETS, ids=[path.stem for path, _ in FLEETS])
def test_a_fleet_of_a_document_does_its_work(path: Path, block: Block, checkout: Path) -> None:
    write_files(path, checkout)
    port = str(free_port())
    broker = f"mqtt://127.0.0.1:{port}"
    text = block.text.replace("1883", port).replace("9464", str(free_port()))
    ports = {"WORKER_MQTT": broker, "WORKER_DEV_PORT": port, "WORKER_DEV_DASHBOARD_PORT": "0"}
    background = []
    try:
        for words, _ in commands(text):
            if words[-1] == "&":
                background.append(
                    subprocess.Popen(
                        [WORKER, *words[1:-1]],
                        cwd=checkout,
                        env={**os.environ, **ports},
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                    )
                )
                continue
            # Clients end at once where nobody listens.
            wait_for_port(int(port))
            # The processes in the background may take long to start on a busy machine.
            offline = words[1] in ("import", "report", "replay")
            patient = [*words, *([] if offline else ["--reply-timeout", str(TIMEOUT_S - 10)])]
            done = start_worker(*patient[1:], cwd=checkout, WORKER_MQTT=broker)
            assert done.returncode == 0, f"{words}{done.stdout}{done.stderr}"
    finally:
        for process in reversed(background):
            process.terminate()
        assert [process.wait(30) for process in background] == [0] * len(background)


SCRIPTS = [(path, block) for path in DOCUMENTS for block in blocks(path) if block.kind == "python"]


@pytest.mark.slow
@pytest.mark.parametrize(("path", "block"), SCRIPTS, ids=[path.stem for path, _ in SCRIPTS])
def test_a_script_of_a_document_runs(path: Path, block: Block, checkout: Path) -> None:
    write_files(path, checkout)
    done = subprocess.run(
        [sys.executable, "-c", block.text],
        cwd=checkout,
        env={**os.environ, "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr


TESTS = [(path, block) for path in DOCUMENTS for block in blocks(path) if block.kind == "pytest"]


@pytest.mark.slow
@pytest.mark.parametrize(("path", "block"), TESTS, ids=[path.stem for path, _ in TESTS])
def test_a_test_of_a_document_passes(path: Path, block: Block, checkout: Path) -> None:
    (checkout / "test_example.py").write_text(block.text)
    line = [sys.executable, "-m", "pytest", "-q", "--rootdir", ".", "test_example.py"]
    done = subprocess.run(line, cwd=checkout, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert re.search(r"^\d+ passed", done.stdout, re.MULTILINE), done.stdout


def test_the_documents_have_examples_of_each_kind() -> None:
    kinds = {block.kind for path in DOCUMENTS for block in blocks(path)}
    assert kinds == {"run", "session", "fleet", "python", "pytest", "file"}


@pytest.mark.parametrize(
    "path",
    [*DOCUMENTS, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "graphs/README.md"],
    ids=lambda path: path.stem,
)
def test_the_links_of_a_document_lead_somewhere(path: Path) -> None:
    targets = [link for link in _LINK.findall(path.read_text("utf-8")) if "://" not in link]
    missing = [link for link in targets if not (path.parent / link).exists()]
    assert not missing


def test_the_how_to_of_cases_has_every_key() -> None:
    text = (ROOT / "docs/how-to/cases.md").read_text()
    keys = {*FILE_KEYS, *CASE_KEYS, *STEP_KEYS, *RETRY_KEYS, *CRON_KEYS, *EXPECT_KEYS}
    keys |= {*STUB_KEYS, *REQUEST_KEYS, *REPLY_KEYS}
    assert keys <= set(re.findall(r"`(\w+)`", text))


def test_the_reference_of_events_has_every_field() -> None:
    text = (ROOT / "docs/reference/events.md").read_text()
    fields = {name for kind in get_args(AnyEvent) for name in kind.__struct_fields__}
    assert fields <= set(re.findall(r"`(\w+)`", text))


def test_the_reference_of_recordings_has_every_type_and_field(tmp_path: Path) -> None:
    old = ROOT / "tests/data/recordings-format-1/requests"
    lines = import_recording(old, tmp_path / "new.jsonl").file.read_text().splitlines()
    objects = [json.loads(line) for line in lines]
    names = {item["type"] for item in objects}
    for item in objects:
        if ":" not in item["type"]:
            names |= {*item, *item.get("request", ()), *item.get("reply", ())}
    text = (ROOT / "docs/reference/recordings.md").read_text()
    assert names <= set(re.findall(r"`([\w:]+)`", text))


def test_the_reference_of_statuses_has_every_error_type() -> None:
    text = (ROOT / "docs/reference/statuses.md").read_text()
    assert {*FAILURES, *map(str, Status)} <= set(re.findall(r"\w+", text))


def test_the_how_to_of_lint_has_a_heading_for_each_rule() -> None:
    text = (ROOT / "docs/how-to/lint.md").read_text()
    headings = re.findall(r"^## (W\d+) (\S+)\n\n(\w+)\.", text, re.MULTILINE)
    rules = [(rule.code, rule.name, rule.severity.name.capitalize()) for rule in RULES]
    assert headings == rules


def test_the_how_to_of_fleets_has_every_environment_variable() -> None:
    sources = [path.read_text() for path in (ROOT / "worker").rglob("*.py")]
    used = {name for text in sources for name in re.findall(r"\"(WORKER_[A-Z_]+)\"", text)}
    how_to = ROOT / "docs/how-to"
    text = "".join((how_to / f"{name}.md").read_text() for name in ("fleet", "lightning"))
    missing = used - set(re.findall(r"`(\w+)`", text))
    assert used and not missing, missing


OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")


def test_the_documents_name_options_that_exist() -> None:
    known = {option for command in all_commands(cli) for option in options_of(command)}
    foreign = {"--team", "--start", "--end", "--log", "--log-json"}
    # Those of the commands of Dask and Docker.
    foreign |= {"--nthreads", "--nworkers", "--scheduler-file", "--build", "--file"}
    # Those of the plugin of pytest.
    foreign |= {"--workflow-record", "--workflow-flaky"}
    for path in DOCUMENTS:
        assert set(OPTION.findall(path.read_text())) <= known | foreign, path


def all_commands(command: click.Command) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            subcommand = command.get_command(context, name)
            assert subcommand is not None
            yield from all_commands(subcommand)


def options_of(command: click.Command) -> Iterator[str]:
    yield "--help"
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            yield from (*parameter.opts, *parameter.secondary_opts)


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 180
