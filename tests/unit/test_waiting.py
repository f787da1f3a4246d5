"""Notices about a run that a command waits for."""

from __future__ import annotations

import asyncio
import shlex
from typing import Any

import pytest

from worker.cli import waiting
from worker.cli.runs import _print_with_steps
from worker.cli.waiting import waiting_notices, waiting_reason
from worker.fleet.control_errors import ControlError

NOW_US = 1_767_225_600_000_000
RUN = {"status": "pending", "project": "north", "workflow": "Case referral", "needs": []}
ONLINE = [{"online": True}]


def pause(workflow: str | None = None, project: str | None = None) -> dict[str, Any]:
    return {"workflow": workflow, "project": project}


@pytest.mark.parametrize(
    ("run", "pauses", "workers", "reason"),
    [
        (
            {"not_before": NOW_US + 1_000_000},
            [pause(project="north")],
            [],
            "not before 2026-01-01 00:00:01 UTC",
        ),
        (
            {},
            [pause("other"), pause("Case referral")],
            [],
            "Case referral is paused (worker workflows resume 'Case referral' ends that)",
        ),
        (
            {},
            [pause(project="south"), pause(project="north")],
            [],
            "project north is paused (worker workflows resume --project north ends that)",
        ),
        ({}, [], [{"online": False}], "no worker is online (worker start runs one)"),
        ({"needs": ["label:mars"]}, [], ONLINE, "it needs a free worker with label:mars"),
        ({}, [], None, "no worker has had a free slot for it"),
        ({"worker": "north-1"}, [], ONLINE, "worker north-1 has it and has not started it"),
        (
            {"worker": "north-1", "not_before": NOW_US + 1},
            [pause(project="north")],
            [{"online": False}],
            "worker north-1 has it and has not started it",
        ),
    ],
)
def test_the_reason_for_which_a_run_waits(
    run: dict[str, Any], pauses: list[Any], workers: list[Any] | None, reason: str
) -> None:
    assert waiting_reason({**RUN, **run}, pauses, workers, NOW_US) == reason


@pytest.mark.parametrize(
    "name", ["it's", "$(reboot)", "; reboot", "a\tb", "-x y", "Überweisung", "long " * 50]
)
def test_the_command_that_ends_a_pause_can_be_pasted(name: str) -> None:
    run = {**RUN, "workflow": name, "project": name}
    reason = waiting_reason(run, [pause(name, name)], ONLINE, NOW_US)
    command = reason.partition(" is paused (")[2].removesuffix(" ends that)")
    assert shlex.split(command) == ["worker", "workflows", "resume", name, "--project", name]


class FakeClient:
    """A client that may not list workers, and of which one run is known."""

    def __init__(self, status: str, **fields: Any) -> None:
        self.fields = {"status": status, **fields}

    async def run(self, id: str) -> dict[str, Any]:
        return {**RUN, "run_id": id, **self.fields}

    async def pauses(self) -> list[Any]:
        return [pause("Case referral", "north")]

    async def workers(self) -> list[Any]:
        raise ControlError("denied", "only for the projects north")


@pytest.mark.parametrize("status", ["pending", "running"])
async def test_only_a_run_that_has_not_begun_gets_a_notice(
    status: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(waiting, "NOTICE_S", 0)
    client: Any = FakeClient(status)
    await waiting._print_reason(client, "p-7-1")
    notice = capsys.readouterr().err
    expected = "run p-7-1 waits: Case referral in project north is paused (worker workflows resume"
    assert notice.startswith(expected) if status == "pending" else notice == ""


@pytest.mark.parametrize(
    ("fields", "reasons"),
    [
        ({}, ["    waits: Case referral in project north is paused (worker workflows resume"
              " 'Case referral' --project north ends that)"]),
        ({"not_before": 4_102_444_800_000_000}, []),
        ({"status": "success"}, []),
    ],
)  # fmt: skip
async def test_a_pending_run_is_shown_with_what_it_waits_for(
    fields: dict[str, Any], reasons: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = {"attempt": 1, "created": NOW_US, "plan": {}, "steps": []}
    client: Any = FakeClient(**{"status": "pending", **shown, **fields})
    await _print_with_steps(client, "p-7-1", as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "waits:" in line] == reasons


async def test_after_an_interruption_it_is_said_that_the_run_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    client: Any = FakeClient("pending")
    with pytest.raises(asyncio.CancelledError):
        async with waiting_notices(client, "p-7-1"):
            raise asyncio.CancelledError
    ways = "worker runs show p-7-1 --follow shows it, worker cancel p-7-1 ends it"
    assert capsys.readouterr().err == f"the run goes on: {ways}\n"
