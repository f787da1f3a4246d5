"""Typical mistakes, and the message that each gets: it names the place, and a remedy.

To see what a change does to the voice of the messages, read the difference of the data file.
"""

from __future__ import annotations

import json
import re
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


# How other messages of ours say it: one thing has one form.
OUTLIERS = {
    r"(?<!there )is no ": "is not a ...",
    r"\(did you mean": "...; did you mean 'x'?",
    r"\bmust be\b": "expected ..., found ...",
    r"`|\bgot\b": "the words of msgspec",
    r"\bover \d": "above 0",
    r"\(expected (?!one of|HOST|NAME|mqtt|project\.yaml)": "expected one of ...",
    r"^error: [A-Z][a-z]|[^.]\.$": "a lower-case beginning, and no full stop",
}


@pytest.mark.parametrize("outlier", OUTLIERS)
def test_messages_have_one_voice(outlier: str) -> None:
    messages = [
        each["message"].split("\n")[0]
        for each in DATA["commands"] + DATA["python"]
        if not each["message"].startswith("Usage: ")
    ]
    assert [text for text in messages if re.search(outlier, text)] == []


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"projects": {"ok": {}, "a": {"concurrent": -1}}}, "projects.a.concurrent: expected a whole"
         " number of at least 0"),
        ({"projects": {"a": {"retry": {"tims": 1}}}}, "unknown key 'tims'; did you mean 'times'?"),
        ({"projects": []}, "projects: expected a mapping, found a list"),
        ({"default": {"keep_data": "some"}}, "default.keep_data: unknown value 'some'"),
        ({"default": {"period_s": 0}}, "default.period_s: expected a number above 0"),
        ({"credential_rates": {"a": {}}}, "credential_rates.a: the key 'runs' is missing"),
        ({"zzz": 1}, "unknown key 'zzz' (expected one of default, projects, credentials, "),
    ],
)  # fmt: skip
def test_a_policy_is_refused_in_our_words(
    policy: dict[str, Any], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(policy))
    with pytest.raises(worker.WorkerError) as raised:
        worker.read_policy(file)
    assert f": {message}" in str(raised.value)
