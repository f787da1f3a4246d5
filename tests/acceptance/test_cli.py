"""The command as its users meet it: real files, and real processes and pipes where these matter."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.test_statuses import worker_run
from tests.support.command import ROOT, WORKER, Done, call_worker
from worker.cli.progress import print_stage, progress
from worker.sinks.journal import read_journal

GOOD = ("graphs/referral.yaml", "--input", "graphs/referral.input.json")


def worker(*arguments: str) -> Done:
    return call_worker(*arguments, cwd=ROOT)


def test_help_shows_examples_and_exit_codes() -> None:
    text = worker("run", "--help").stdout
    assert "worker run graphs/referral.yaml --input graphs/referral.input.json" in text
    assert "4 killed" in text


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str) -> None:
    assert "_WORKER_COMPLETE" in worker("completion", shell).stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("worker co", ["control-plane", "completion", "config", "conformance"]),
        ("worker orders ", ["list", "show", "submit", "retry", "cancel", "erase", "export"]),
        ("worker orders li", ["list"]),
        ("worker run --st", ["--start-at", "--state-limit", "--state-path", "--stop-after"]),
        ("worker serve --metrics", ["--metrics-listen"]),
        ("worker orders 5f0c9e --js", ["--json"]),
        ("worker orders list --status cra", ["crashed"]),
        ("worker run graphs/referral.yaml --only notify", ["notify-facility"]),
        ("worker run graphs/referral.yaml --start-at up", ["upsert-record"]),
        ("worker run graphs/none.yaml --start-at up", []),
        ("worker run graphs/aborts.yaml --workflow exc", ["exception-credential"]),
        ("worker run graphs/aborts.yaml --workflow Exc", []),
        ("worker runs show --mqtt mqtt://127.0.0.1:9 5", []),
    ],
)
def test_a_shell_completes_new_names_alone(words: str, completed: list[str]) -> None:
    *before, incomplete = words.split(" ")
    environment = {
        **os.environ,
        "_WORKER_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join([*before, incomplete]),
        "COMP_CWORD": str(len(before)),
    }
    done = subprocess.run(
        WORKER, env=environment, capture_output=True, text=True, timeout=50, cwd=ROOT
    )
    names = [line.partition(",")[2] for line in done.stdout.splitlines() if line]
    assert (sorted(names), done.stderr) == (sorted(completed), "")


def test_json_writes_events_alone_to_stdout_and_logs_to_stderr(tmp_path: Path) -> None:
    done = worker_run(*GOOD, "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert all(json.loads(line)["event"] for line in done.stderr.splitlines())


@pytest.mark.slow
def test_a_journal_holds_every_event(tmp_path: Path) -> None:
    journal = tmp_path / "deep" / "run.jsonl"
    done = worker_run(*GOOD, "--journal", str(journal), "--json")
    assert journal.read_text() == done.stdout
    assert [event.type for event in read_journal(journal)][-1] == "run:complete"


def test_a_file_that_is_no_journal_is_not_overwritten(tmp_path: Path) -> None:
    precious = tmp_path / "thesis.txt"
    precious.write_text("years of work")
    done = worker_run(*GOOD, "--journal", str(precious))
    assert done.returncode == 2
    assert "exists and is not a journal" in done.stderr
    assert precious.read_text() == "years of work"


@pytest.mark.slow
def test_output_writes_the_final_state(tmp_path: Path) -> None:
    target = tmp_path / "final.json"
    worker_run(*GOOD, "--output", str(target))
    assert json.loads(target.read_text())["data"]
    assert [path.name for path in tmp_path.iterdir()] == ["final.json"]


@pytest.mark.slow
def test_output_to_stdout_keeps_the_report_apart() -> None:
    done = worker_run(*GOOD, "--output", "-")
    assert json.loads(done.stdout)["data"]
    assert "✓ success" in done.stderr


@pytest.mark.slow
def test_input_comes_from_stdin() -> None:
    given = (ROOT / "graphs/referral.input.json").read_text()
    command = [*WORKER, "run", "graphs/referral.yaml", "--input", "-"]
    done = subprocess.run(command, cwd=ROOT, input=given, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_only_runs_one_step() -> None:
    done = worker_run(*GOOD, "--only", "validate-referral", "--json", "--quiet")
    steps = [json.loads(line) for line in done.stdout.splitlines() if '"step:start"' in line]
    assert [step["job_id"] for step in steps] == ["validate-referral"]


def write(path: Path, content: str) -> str:
    path.write_text(content)
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere.yaml",), "nowhere.yaml: there is no such file"),
        (("graphs",), "graphs"),
        ((*GOOD, "--only", "a", "--start-at", "b"), "--only starts and stops at one step"),
        ((*GOOD, "--json", "--output", "-"), "both write to stdout"),
        ((*GOOD, "--timeout", "0"), "0"),
        (("graphs/referral.yaml", "--input", "graphs/README.md"), "not JSON"),
        (("graphs/aborts.yaml",), "pick one with --workflow"),
        (("graphs/aborts.yaml", "--workflow", "nope"), "expected one workflow named 'nope'"),
        ((*GOOD, "--output", "/dev/null/x.json"), "cannot write /dev/null/x.json: "),
        (
            (*GOOD, "--timeout", "60x"),
            "--timeout: expected a number above 0 and up to 86,400 (or with a unit",
        ),
        ((*GOOD, "--memory", "9.5"), "--memory: expected a whole number from 8 to 1,000,000"),
    ],
)
def test_wrong_usage_is_said_in_a_line(arguments: tuple[str, ...], message: str) -> None:
    done = worker_run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_input_that_is_no_object_is_refused(tmp_path: Path) -> None:
    done = worker_run("graphs/referral.yaml", "--input", write(tmp_path / "list.json", "[1]"))
    assert done.returncode == 2 and "expected a JSON object" in done.stderr


@pytest.mark.slow
def test_a_typo_in_a_file_is_warned_of(tmp_path: Path) -> None:
    file = write(tmp_path / "w.yaml", "steps:\n- id: a\n  expresion: fn(s => s)\n")
    warning = worker_run(file).stderr
    assert f"{file}:3:14: " in warning and "did you mean 'expression'?" in warning


@pytest.mark.slow
def test_a_folder_of_the_output_that_is_missing_is_created(tmp_path: Path) -> None:
    target = tmp_path / "new" / "x.json"
    assert worker_run(*GOOD, "--output", str(target)).returncode == 0
    assert json.loads(target.read_text())["priority"] == "urgent"


def test_a_wrong_shape_of_a_credential_is_named_without_its_value(tmp_path: Path) -> None:
    file = write(tmp_path / "c.yaml", "emr: {token: abc}\nregistry: hunter22\n")
    done = worker_run(*GOOD, "--credentials", file)
    assert done.returncode == 2 and "hunter22" not in done.stderr
    assert "c.yaml:2:11: registry: expected the fields of a credential" in done.stderr


@pytest.mark.slow
def test_credentials_are_given_by_name_and_never_printed(tmp_path: Path) -> None:
    source = "fn(s => { console.log(s.configuration); return s; })"
    step = {"id": "a", "adaptor": "common", "configuration": "emr", "expression": source}
    file = write(tmp_path / "w.json", json.dumps({"steps": [step]}))
    secrets = write(tmp_path / "c.yaml", "emr:\n  password: hunter2-hunter2\n")
    done = worker_run(file, "--credentials", secrets)
    assert done.returncode == 0
    assert "hunter2" not in done.stdout + done.stderr and "***" in done.stdout


def test_python_steps_can_be_refused() -> None:
    done = worker_run("graphs/triage.yaml", "--input", "graphs/triage.input.json", "--no-python")
    assert done.returncode == 4 and "not allowed here" in done.stdout


def test_text_from_a_run_cannot_drive_the_terminal(tmp_path: Path) -> None:
    evil = "\\u001b]0;owned\\u0007\\u001b[2J\\u202e"
    source = f"fn(s => {{ console.log('{evil}'); throw new Error('{evil}'); }})"
    plan = {
        "workflow": {"name": "x", "steps": [{"id": "a", "adaptor": "common", "expression": source}]}
    }
    done = worker_run(write(tmp_path / "w.json", json.dumps(plan)))
    assert "\x1b" not in done.stdout + done.stderr and "\u202e" not in done.stdout
    assert "\\x1b]0;owned" in done.stdout


@pytest.mark.slow
def test_a_reader_that_leaves_early_is_no_crash() -> None:
    command = " ".join([*WORKER, "run", *GOOD, "--json", "--quiet", "| head -n 1"])
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert "Traceback" not in done.stderr


def on_a_terminal(*arguments: str) -> str:
    """Return what the command draws where its stdout is a terminal."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
    with subprocess.Popen(
        [*WORKER, *arguments], cwd=ROOT, stdout=theirs, env=environment
    ) as process:
        os.close(theirs)
        drawn = b""
        while chunk := _read(ours):
            drawn += chunk
        process.wait(timeout=20)
    os.close(ours)
    return drawn.decode(errors="replace")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""


@pytest.mark.slow
def test_a_terminal_shows_the_live_tree_and_the_verdict() -> None:
    drawn = on_a_terminal("run", "graphs/referral.yaml", "-i", "graphs/referral.input.json")
    last = drawn[drawn.rindex("Referral") :]
    assert "✓ fetch-patient" in last and "└──" in last and "✓ success" in last
    assert "· alert-nurse" in last


def test_validate_tells_what_could_run() -> None:
    done = worker("validate", "graphs/aborts.yaml")
    assert done.returncode == 2
    assert "form a cycle" in done.stderr and "could run" in done.stdout
    assert worker("validate", "graphs/vaccination.yaml").returncode == 0


def test_the_command_is_installed() -> None:
    script = Path(sys.executable).with_name("worker")
    done: Any = subprocess.run([script, "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("worker, version")


@pytest.mark.slow
def test_long_work_shows_its_progress_on_a_terminal_alone() -> None:
    """On stderr, so that the output can go elsewhere."""
    ours, theirs = pty.openpty()
    command = [*WORKER, "explore", "graphs/triage.yaml"]
    environment = {**os.environ, "TERM": "xterm-256color"}
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs, timeout=50, env=environment
    )
    os.close(theirs)
    shown = b""
    while chunk := _read(ours):
        shown += chunk
    os.close(ours)
    assert b"exploring" in shown
    quiet = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=50)
    assert (quiet.stdout, quiet.stderr) == (done.stdout, b"")


def test_progress_takes_no_line_of_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not while stdout is a file or a pipe, and stderr is the terminal."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    output, screen = io.StringIO(), Terminal()
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    with progress("replaying", 2) as done:
        print("✓ first.jsonl")
        done()
    print_stage("fetching http")
    assert output.getvalue() == "✓ first.jsonl\n"
    assert "replaying" in screen.getvalue() and "fetching http" in screen.getvalue()
    # An interruption leaves a line to write on, and a cursor.
    with pytest.raises(KeyboardInterrupt), progress("fuzzing"):
        raise KeyboardInterrupt
    assert screen.getvalue().rpartition("\x1b[?25l")[2].endswith("\x1b[?25h\r\x1b[1A\x1b[2K")
    quiet = io.StringIO()
    monkeypatch.setattr(sys, "stderr", quiet)
    with progress("replaying", 2) as done:
        done()
    print_stage("fetching http")
    assert quiet.getvalue() == ""


WITHOUT = """
import sys
sys.modules["sqlalchemy"] = sys.modules["alembic"] = None
sys.argv = ["worker", *{arguments!r}]
from worker.cli.main import main
main()
"""


def run_without_fleet(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as if the extra ``fleet`` were not installed."""
    script = WITHOUT.format(arguments=arguments)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["dev", "control-plane"])
def test_a_command_of_the_fleet_names_its_extra(command: str) -> None:
    done = run_without_fleet(command)
    assert done.returncode == 2
    assert done.stderr == "error: this needs an extra: pip install 'workflow-worker[fleet]'\n"


@pytest.mark.slow
@pytest.mark.parametrize("command", ["start", "submit", "watch", "run"])
def test_other_commands_need_no_extra(command: str) -> None:
    assert run_without_fleet(command, "--help").returncode == 0


@pytest.mark.slow
def test_a_workflow_comes_from_stdin() -> None:
    plan = '{"workflow": {"steps": [{"id": "a", "expression": "export default [() => ({n: 1})]"}]}}'
    command = [*WORKER, "run", "-", "-O"]
    done = subprocess.run(command, cwd=ROOT, input=plan, text=True, capture_output=True)
    assert (done.returncode, json.loads(done.stdout)) == (0, {"n": 1})
