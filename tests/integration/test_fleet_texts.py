"""What the commands of a fleet print for people, mistakes included."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.command_fleet import command_fleet
from worker.cli.main import cli

pytestmark = pytest.mark.slow

NIGHTLY = {"type": "cron", "cron_expression": "0 2 * * *", "timezone": "Africa/Nairobi"}
PROJECT = {
    "workflows": {
        "referral": {
            "name": "Referral",
            "jobs": {"check": {"adaptor": "common", "body": "fn(state => state)"}},
            "triggers": {"nightly": NIGHTLY},
            "edges": {
                "nightly->check": {
                    "source_trigger": "nightly",
                    "target_job": "check",
                    "condition_type": "always",
                }
            },
        }
    }
}


@pytest.fixture(autouse=True)
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "project.yaml").write_text(json.dumps(PROJECT))
    with command_fleet(monkeypatch):
        call("deploy", "project.yaml")
        yield


def call(*words: str) -> tuple[str, str]:
    """Run a command; return what it prints on stdout and on stderr."""
    done = CliRunner().invoke(cli, words, standalone_mode=False)
    return done.stdout, done.stderr


def test_a_pause_is_listed_and_one_of_an_unknown_name_is_warned_of() -> None:
    assert call("workflows", "pause", "Referal") == (
        "paused Referal\n",
        "warning: the control plane has no workflow 'Referal'; did you mean 'Referral'?\n",
    )
    assert call("workflows", "pause", "Referral") == ("paused Referral\n", "")
    listed, _ = call("workflows", "list")
    assert listed.splitlines() == ["Referral", "paused: Referal", "paused: Referral"]
    assert call("workflows", "resume", "Referral") == ("resumed Referral\n", "")
    assert call("workflows", "resume", "Referral") == ("not paused: Referral\n", "")


def test_a_schedule_is_shown_with_its_time_zone() -> None:
    shown, _ = call("workflows", "show", "Referral")
    assert "nightly: cron 0 2 * * * Africa/Nairobi (live, fired 0, next " in shown
    assert shown.rstrip().endswith("23:00:00 UTC)")
