"""Typical mistakes, and the message that each gets: it names the place, and a remedy.

To see what a change does to the voice of the messages, read the difference of the data file.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import worker
from worker.cli import option_sources
from worker.cli.main import main
from worker.runner.pool import Pool

DATA = json.loads((Path(__file__).parents[1] / "data" / "mistakes.json").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mistakes")
    for name, text in DATA["files"].items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture(autouse=True)
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "own"))
    monkeypatch.delenv("WORKER_MQTT", raising=False)
    # None of them comes to a run, so nothing has to be ready for one.
    monkeypatch.setattr(Pool, "boot", lambda self, **_: None)
    option_sources._read_env.cache_clear()
    option_sources._read_toml.cache_clear()


@pytest.mark.parametrize("mistake", DATA["commands"], ids=lambda mistake: mistake["command"])
def test_a_mistake_in_a_command(
    mistake: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["worker", *mistake["command"].split()])
    with pytest.raises(SystemExit) as exit:
        main()
    printed = capsys.readouterr()
    assert (printed.err or printed.out).strip() == mistake["message"]
    assert exit.value.code == mistake["code"]


@pytest.mark.parametrize("mistake", DATA["python"], ids=lambda mistake: mistake["call"])
def test_a_mistake_in_python(mistake: dict[str, str]) -> None:
    names = {"worker": worker, "Path": Path, "workflow": worker.load("good.yaml")}
    with pytest.raises(worker.WorkerError) as raised:
        eval(mistake["call"], names)
    assert str(raised.value) == mistake["message"]


def test_there_are_150_of_them() -> None:
    mistakes = DATA["commands"] + DATA["python"]
    assert len(mistakes) >= 150
    assert not [each for each in mistakes if "Traceback" in each["message"]]
