"""The README's examples run, and do what it says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fleets import needs_mosquitto
from worker.fleet.messaging.broker import free_port

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(
    r"<!-- (run|session|fleet|python|pytest) ?(\d*) -->\n```\w+\n(.*?)```", README, re.DOTALL
)
COMMANDS = [
    (line.removeprefix("$ ").partition("  #")[0], int(code or 0))
    for kind, code, text in BLOCKS
    if kind == "run"
    for line in text.splitlines()
    if line.startswith("$ ")
]
SESSIONS = [text for kind, _, text in BLOCKS if kind == "session"]
FLEETS = [text for kind, _, text in BLOCKS if kind == "fleet"]
SCRIPTS = [text for kind, _, text in BLOCKS if kind == "python"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder where the samples are, and where examples may write."""
    (tmp_path / "graphs").symlink_to(ROOT / "graphs")
    return tmp_path


@pytest.mark.parametrize(("command", "code"), COMMANDS, ids=[command for command, _ in COMMANDS])
def test_a_command_of_the_readme_runs(command: str, code: int, checkout: Path) -> None:
    words = shlex.split(command)
    assert words[0] == "worker"
    script = str(Path(sys.executable).with_name("worker"))
    done = subprocess.run(
        [script, *words[1:]], cwd=checkout, capture_output=True, text=True, timeout=50
    )
    assert done.returncode == code, done.stdout + done.stderr


@pytest.mark.parametrize("text", SESSIONS, ids=range(len(SESSIONS)))
def test_a_session_of_the_readme_runs_in_order(text: str, checkout: Path) -> None:
    lines = [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")]
    for line in lines:
        words = shlex.split(line)
        script = str(Path(sys.executable).with_name("worker"))
        done = subprocess.run(
            [script, *words[1:]], cwd=checkout, capture_output=True, text=True, timeout=50
        )
        assert done.returncode == 0, line + done.stdout + done.stderr


@needs_mosquitto
@pytest.mark.parametrize(
    "text", [pytest.param(text, marks=pytest.mark.slow) for text in FLEETS], ids=range(len(FLEETS))
)
def test_a_fleet_of_the_readme_does_its_work(text: str, checkout: Path) -> None:
    """Lines that end in ``&`` go on in the background, as in a shell."""
    port = str(free_port())
    environment = {**os.environ, "WORKER_MQTT": f"mqtt://127.0.0.1:{port}"}
    script = str(Path(sys.executable).with_name("worker"))
    background = []
    try:
        for line in text.splitlines():
            line = line.removeprefix("$ ").replace("1883", port).replace("9464", str(free_port()))
            words = [script, *shlex.split(line.removesuffix(" &"))[1:]]
            if line.endswith(" &"):
                quiet = subprocess.DEVNULL
                background.append(
                    subprocess.Popen(
                        words, cwd=checkout, env=environment, stdout=quiet, stderr=quiet
                    )
                )
                continue
            done = subprocess.run(
                words, cwd=checkout, env=environment, capture_output=True, text=True, timeout=50
            )
            assert done.returncode == 0, line + done.stdout + done.stderr
    finally:
        for process in reversed(background):
            process.terminate()
            assert process.wait(20) == 0


@pytest.mark.parametrize("script", SCRIPTS, ids=range(len(SCRIPTS)))
def test_a_script_of_the_readme_runs(script: str, checkout: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=checkout,
        env={**os.environ, "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr


def test_the_test_of_the_readme_passes(checkout: Path) -> None:
    (text,) = (text for kind, _, text in BLOCKS if kind == "pytest")
    (checkout / "test_readme_example.py").write_text(text)
    line = [sys.executable, "-m", "pytest", "-q", "--rootdir", ".", "test_readme_example.py"]
    done = subprocess.run(line, cwd=checkout, capture_output=True, text=True, timeout=50)
    assert "1 passed" in done.stdout, done.stdout


def test_the_readme_has_examples() -> None:
    assert len(COMMANDS) >= 6 and len(SCRIPTS) == 3 and SESSIONS and FLEETS
