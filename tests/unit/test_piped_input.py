"""What is piped into a command that does not read it: noted, and never waited for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from worker.cli.files import has_piped_data, read_input


def test_only_a_pipe_with_data_counts(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    assert not has_piped_data(reading), "a pipe that somebody may write to later"
    os.write(writing, b"{}")
    assert has_piped_data(reading)
    os.read(reading, 2)
    os.close(writing)
    assert not has_piped_data(reading), "an empty pipe that was closed"
    os.close(reading)
    assert not has_piped_data(reading), "a closed descriptor"
    with (tmp_path / "list").open("w+b") as file:
        file.write(b"{}")
        assert not has_piped_data(file.fileno()), "a file, as of a loop in a shell"


@pytest.mark.parametrize(("piped", "noted"), [(True, True), (False, False)])
def test_a_command_without_input_notes_it(
    piped: bool, noted: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("worker.cli.files.has_piped_data", lambda descriptor: piped)
    assert read_input(None) == {}
    assert ("--input - takes it" in capsys.readouterr().err) is noted
    assert read_input(None, "{}") == {}
    assert capsys.readouterr().err == ""
