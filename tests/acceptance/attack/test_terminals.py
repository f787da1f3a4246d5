"""Attacks on who reads a terminal: by names, logs, errors and states that drive it."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from tests.support.command import ROOT, WORKER
from tests.support.helpers import job
from worker.cli.terminal_stream import TerminalStream

# U+009B begins a sequence of a terminal as ESC [ does, and U+202E turns the direction of the text.
EVIL = "\u009b2J\u202e\u2066\u200b"


def drawn_by(*arguments: str) -> str:
    """Return what the command writes to a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([*WORKER, *arguments], cwd=ROOT, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        drawn = b""
        # Linux reports a terminal without a writer as an error.
        try:
            while chunk := os.read(ours, 65536):
                drawn += chunk
        except OSError:
            pass
        process.wait(timeout=20)
    os.close(ours)
    return drawn.decode()


@pytest.mark.slow
def test_json_on_a_terminal_drives_nothing(tmp_path: Path) -> None:
    """Logs and returns sequences of a terminal, for somebody who watches the events as JSON."""
    escaped = json.dumps(EVIL)
    steps = job(f"fn(s => {{ console.log({escaped}); return {{ data: {escaped} }}; }});")
    plan = {"workflow": {"name": EVIL, "steps": [steps]}}
    (tmp_path / "w.json").write_text(json.dumps(plan))
    drawn = drawn_by("run", str(tmp_path / "w.json"), "--json")
    assert not set(EVIL) & set(drawn) - set("2J")
    events = [json.loads(line) for line in drawn.splitlines() if line.startswith('{"type":"run:c')]
    assert [event["final_state"] for event in events] == [{"data": EVIL}]


@pytest.mark.parametrize("text", [EVIL, "\ud800", "\x7f"])
def test_a_terminal_gets_no_unsafe_character_in_json(text: str) -> None:
    written = io.BytesIO()
    stream = TerminalStream(written, "utf-8", write_through=True)
    assert stream.write(json.dumps(text, ensure_ascii=False)) == len(text) + 2
    assert written.getvalue().isascii() and json.loads(written.getvalue()) == text


def test_our_own_sequences_and_all_scripts_stay() -> None:
    written = io.BytesIO()
    text = "\x1b[32m✓ école नेपाली مريض 👩‍⚕️\x1b[0m\r\n"
    stream = TerminalStream(written, "utf-8", write_through=True)
    assert stream.write(text) == len(text)
    assert written.getvalue().decode() == text
