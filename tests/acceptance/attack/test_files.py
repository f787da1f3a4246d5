"""Attacks by files that a person only opens, and by what is printed of them."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from worker.cli import option_sources
from worker.cli.main import cli
from worker.cli.test import find_case_files
from worker.cli.workflow_files import find_workflow_files
from worker.errors import LoadError, UsageError
from worker.fleet.messaging.address import parse_address
from worker.replay.recording import is_recording
from worker.workflow.documents import yaml_reader

HALVES = r'a: "\ud83d\ude00"' + "\n"
ODD_YAML = [
    # Half a pair of surrogates has the parser in Python read the file.
    HALVES + r'b: "\UFFFFFFFF"',
    HALVES + r'b: "\U00110000"',
    "%YAML " + "9" * 5000 + ".1\n--- # " + HALVES,
    HALVES + "b: !<%zz> c",
    HALVES + "b: *c",
    HALVES + "? [a]\n: b",
    HALVES + "b: " + "[" * 300,
]


@pytest.mark.parametrize("text", ODD_YAML, ids=lambda text: repr(text)[:50])
def test_odd_yaml_is_an_error_of_the_file(text: str) -> None:
    """Tries to make a command end as a defect of its own, by a file that it only reads."""
    with pytest.raises(LoadError):
        yaml_reader.parse(text, "w.yaml")


@pytest.mark.parametrize(
    "url",
    [
        "mqtt://u:p4zz@h:99999",
        "mqtt://u:p4zz#word@h",
        "mqtt://u:p4:zz@h:x",
        "mqtt://u:a/p4zz@h",
        "http://u:x:p4zz@h",
        "mqtt://u:p4zz@[h",
    ],
)
def test_no_error_of_an_address_names_its_password(url: str) -> None:
    """Reads a password from an error message: one for a broker with a mistake in its address."""
    with pytest.raises(UsageError) as caught:
        parse_address(url)
    assert re.findall("p4|zz|word", str(caught.value)) == []


def test_cases_of_an_exploration_have_no_credential(tmp_path: Path) -> None:
    """Reads a credential from a file of cases, which is committed: the input had it."""
    flow = {"steps": [{"id": "a", "expression": "fn(s => s)", "next": {"b": "state.data.x > 1"}},
                      {"id": "b", "expression": "fn(s => s)"}]}  # fmt: skip
    (tmp_path / "w.json").write_text(json.dumps({"workflow": flow}))
    state = {"data": {"x": 2}, "configuration": {"password": "hunter2!"}}
    (tmp_path / "in.json").write_text(json.dumps(state))
    cases = tmp_path / "x.cases.yaml"
    arguments = ["explore", str(tmp_path / "w.json"), "-i", str(tmp_path / "in.json")]
    done = CliRunner().invoke(cli, [*arguments, "--write-cases", str(cases)], prog_name="worker")
    assert done.exit_code == 0, done.output
    assert "x: 2" in cases.read_text() and "hunter2" not in cases.read_text()


# --- folders --------------------------------------------------------------------------------------


def test_links_to_the_folder_itself_are_not_followed(tmp_path: Path) -> None:
    """Tries to keep a command busy for ever, with 2^40 folders that are one."""
    (tmp_path / "w.yaml").write_text("steps: [{id: a}]")
    for name in ("a", "b"):
        (tmp_path / name).symlink_to(".")
    assert find_workflow_files([tmp_path]) == [tmp_path / "w.yaml"]


def test_lines_without_text_are_searched_once(tmp_path: Path) -> None:
    """Tries to keep a command busy for hours, with a file of empty lines that is no YAML."""
    (tmp_path / "odd.yaml").write_text("\n" * 1_000_000 + "\t[")
    (tmp_path / "w.yaml").write_text("steps: [{id: a}]")
    assert find_workflow_files([tmp_path]) == [tmp_path / "w.yaml"]


def test_pipes_in_a_folder_are_not_opened(tmp_path: Path) -> None:
    """Tries to keep a command waiting for ever, for a pipe that has no writer."""
    for name in ("a.cases.yaml", "w.yaml", "r.jsonl", ".env", "worker.toml"):
        os.mkfifo(tmp_path / name)
    assert find_case_files((tmp_path,)) == []
    assert not is_recording(tmp_path / "r.jsonl")
    assert option_sources._read_toml(tmp_path / "worker.toml") == {}
    assert option_sources._read_env(tmp_path / ".env") == {}
    with pytest.raises(UsageError):
        find_workflow_files([tmp_path])


@pytest.mark.parametrize(
    "text",
    ["a = " + "[" * 100_000, "a = " + "9" * 5000, "#" * 2_000_000, "a = 1979-13-99"],
    ids=["nested", "digits", "large", "date"],
)
def test_an_odd_file_of_options_is_a_usage_error(text: str, tmp_path: Path) -> None:
    """Tries to end every command as a defect, by a file of the folder that it starts in."""
    file = tmp_path / "worker.toml"
    file.write_text(text)
    with pytest.raises(LoadError):
        option_sources._read_toml(file)


def test_a_device_is_no_file_of_options(tmp_path: Path) -> None:
    """Tries to fill the memory of every command, with a file that has no end."""
    (tmp_path / "worker.toml").symlink_to("/dev/zero")
    assert option_sources._read_toml(tmp_path / "worker.toml") == {}
