"""What the commands of a fleet print about orders, runs and workflows."""

from __future__ import annotations

import json
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from worker.cli.entry import escape_foreign_characters
from worker.cli.fleet_alerts import open_alerts
from worker.cli.main import cli
from worker.cli.printing import print_run
from worker.cli.retry import new_run
from worker.cli.short_ids import find_id, find_order_id
from worker.cli.workers import _line
from worker.fleet.control_errors import ControlError
from worker.sinks.log import stderr_logger
from worker.sinks.terminal_text import format_time


def test_a_time_names_its_zone() -> None:
    assert format_time(1_767_225_600_000_000) == "2026-01-01 00:00:00 UTC"


@pytest.mark.parametrize(
    ("presence", "line"),
    [
        ({"online": True, "capacity": 2, "leases": ["r-1"]}, "online    w  1 of 2 slots in use"),
        ({"online": True, "capacity": 1, "leases": []}, "online    w  0 of 1 slot in use"),
        ({"online": False, "capacity": 0, "leases": ["r-1"]}, "offline   w  holds 1 run"),
        ({"online": False, "capacity": 0, "leases": []}, "offline   w"),
    ],
)
def test_a_worker_that_is_away_has_no_slots(presence: dict[str, Any], line: str) -> None:
    assert _line({"name": "w", "draining": False, "offers": [], **presence}) == line


def test_a_retry_names_the_new_run_and_what_to_type() -> None:
    text = new_run("patient 1", "patient 1-2")
    assert text.startswith("new run patient 1-2: worker runs show 'patient 1-2' --follow shows it")
    assert text.endswith("worker orders show 'patient 1' all runs of the order")


COMMAND = "::add-mask::x"
NAMES_OF_LINES = {
    "name": f"w\n{COMMAND}",
    "steps": [
        {
            "id": f"{id}\n{COMMAND}",
            "name": f"{id}\n{COMMAND}",
            "adaptor": "common",
            "expression": f"fn(s => s)\nfn(s => {{ undefinedName; return s }}) // {id}",
            "next": following,
        }
        for id, following in (("a", {f"b\n{COMMAND}": "on_job_failure"}), ("b", {}))
    ],
}


@pytest.mark.parametrize("command", ["validate", "lint", "explore", "diff"])
def test_no_name_is_a_line_of_its_own(command: str, tmp_path: Path) -> None:
    """Systems for CI execute such lines, and the author of a pull request names steps."""
    file = tmp_path / "w.json"
    file.write_text(json.dumps(NAMES_OF_LINES))
    files = [str(file)] * (2 if command == "diff" else 1)
    output = CliRunner().invoke(cli, [command, *files]).output
    assert output and not [line for line in output.splitlines() if line.startswith(COMMAND)]


def test_the_message_of_an_error_is_no_line_of_a_mismatch(tmp_path: Path) -> None:
    message = json.dumps(f"one\n{COMMAND}")
    expression = f"fn(s => {{ throw new Error({message}) }})"
    step = {"id": "a", "adaptor": "common", "expression": expression}
    (tmp_path / "w.json").write_text(json.dumps({"name": "w", "steps": [step]}))
    case = {"name": "x", "expect": {"status": "success"}}
    file = tmp_path / "w.cases.yaml"
    file.write_text(json.dumps({"workflow": "w.json", "cases": [case]}))
    output = CliRunner().invoke(cli, ["test", str(file)]).output
    assert f"JobError: one ⏎ {COMMAND}" in output


def test_the_place_of_an_error_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "w.json"
    file.write_text(json.dumps(NAMES_OF_LINES))
    output = CliRunner().invoke(cli, ["run", str(file)]).output
    assert "undefinedName" in output
    assert not [line for line in output.splitlines() if line.strip().startswith(COMMAND)]


class _Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_on_a_terminal_has_no_control_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages of jobs, topics and errors could set its title, or hide and forge lines."""
    monkeypatch.setattr("sys.stderr", terminal := _Terminal())
    stderr_logger().warning("hi\x1b]0;title\x07\n::add-mask::x", topic="t\x1b[8m\u202e")
    assert terminal.getvalue().count("\n") == 1
    assert terminal.getvalue().removesuffix("\n").isprintable()


def _alert(run_id: str, *, acknowledged: bool = False) -> dict[str, Any]:
    return {"run_id": run_id, "acknowledged": acknowledged}


def test_a_wrong_id_of_an_alert_names_open_ones() -> None:
    alerts = [_alert("patient-1-1"), _alert("patient-2-1", acknowledged=True), _alert("x-1")]
    assert open_alerts("patient-1-2", alerts) == "; did you mean 'patient-1-1'?"
    assert open_alerts("", alerts) == "; open are patient-1-1, x-1"
    assert open_alerts("", alerts[1:2]) == "; no alert is open"
    many = [_alert(f"r-{number}") for number in range(9)]
    assert open_alerts("", many).endswith("r-4, … (worker alerts list --open)")


class _Fleet:
    """A control plane with one order."""

    async def run(self, id: str) -> dict[str, Any]:
        raise ControlError("unknown", f"there is no run '{id}'")

    order = run

    async def runs(self, query: Any) -> list[dict[str, Any]]:
        return []

    async def orders(self, query: Any) -> list[dict[str, Any]]:
        return [] if query.search else [{"order_id": "patient-123", "last_run": "patient-123-1"}]


@pytest.mark.parametrize("find", [find_id, find_order_id])
async def test_an_unknown_id_names_the_one_that_was_meant(find: Any) -> None:
    with pytest.raises(ControlError, match=r"there is no run 'patient-132'; did you mean"):
        await find(_Fleet(), "patient-132")
    with pytest.raises(ControlError, match=r"there is no run 'zzz'; worker orders and worker runs"):
        await find(_Fleet(), "zzz")


@pytest.mark.parametrize(
    ("words", "hint"), [("alerts ack", "acknowledge"), ("alerts lst", "list"), ("expl", "explore")]
)
def test_a_part_of_a_command_suggests_it(words: str, hint: str) -> None:
    result = CliRunner().invoke(cli, words.split())
    assert f"unknown command '{words.split()[-1]}'; did you mean '{hint}'?" in result.output


@pytest.mark.parametrize(
    ("run_id", "end"), [("bad1-1", "default/bad"), ("8fdc", ", of order bad1")]
)
def test_a_later_run_names_its_order(
    capsys: pytest.CaptureFixture[str], run_id: str, end: str
) -> None:
    run = {"run_id": run_id, "order_id": "bad1", "status": "failed", "created": 0, "attempt": 1}
    print_run({**run, "project": "default", "workflow": "bad"}, as_json=False)
    assert capsys.readouterr().out.rstrip().endswith(end)


def test_a_locale_without_our_marks_gets_them_as_escapes() -> None:
    content = BytesIO()
    stream = TextIOWrapper(content, "latin-1")
    escape_foreign_characters(stream)
    stream.write("✓ Büro")
    stream.flush()
    assert content.getvalue() == b"\\u2713 B\xfcro"
