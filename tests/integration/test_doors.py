"""One behaviour from every door: each workflow ends alike wherever it is run.

``tests/data/doors.jsonl`` has a workflow in each line, with its input and its end. The processes of
a door are shared by all workflows.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import worker
from tests.support.command import call_worker
from tests.support.fleets import at, fleet, needs_mosquitto
from worker.core.status import STATUS_OF_REASON, STATUSES
from worker.testing import WorkflowUnderTest, load_cases, run_case
from worker.workflow.save import to_execution_plan

ROWS = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "data" / "doors.jsonl").read_text().splitlines()
]
Row = Mapping[str, Any]
End = dict[str, Any]

pytestmark = pytest.mark.slow


# Once for all doors: what is compiled for a workflow is kept with it.
WORKFLOWS = {row["name"]: worker.load(row["plan"]) for row in ROWS}


def loaded(row: Row) -> worker.Workflow:
    return WORKFLOWS[row["name"]]


def end_of(result: worker.Result) -> End:
    return {
        "status": result.status.value,
        "error_type": result.error_type,
        "error_message": result.error_message,
        "path": [[entry.step, entry.outcome] for entry in result.path],
        "state": result.final_state,
    }


def by_run(row: Row, folder: Path) -> End:
    return end_of(worker.run(loaded(row), row["input"]))


def by_fixture(row: Row, folder: Path) -> End:
    return end_of(WorkflowUnderTest(workflow=loaded(row)).run(row["input"]).result)


def by_case(row: Row, folder: Path) -> End:
    (folder / "w.json").write_text(json.dumps(row["plan"]))
    case = {"name": "a", "input": row["input"], "expect": {"status": row["expect"]["status"]}}
    (folder / "w.cases.yaml").write_text(json.dumps({"workflow": "w.json", "cases": [case]}))
    (read,) = load_cases(folder / "w.cases.yaml")
    return end_of(run_case(read).results[-1])


def by_command(row: Row, folder: Path) -> End:
    (folder / "w.json").write_text(json.dumps(row["plan"]))
    (folder / "input.json").write_text(json.dumps(row["input"]))
    files = ("--input", "input.json", "--output", "out.json", "--journal", "run.jsonl")
    done = call_worker("run", "w.json", *files, "--quiet", cwd=folder)
    events = list(worker.read_journal(folder / "run.jsonl"))
    end = events[-1]
    assert isinstance(end, worker.RunComplete)
    assert done.returncode == STATUSES[end.status].exit_code
    completed = [event for event in events if isinstance(event, worker.StepComplete)]
    return {
        "status": end.status.value,
        "error_type": end.error.type if end.error else None,
        "error_message": end.error.message if end.error else None,
        "path": [[event.job_id, STATUS_OF_REASON[event.reason].value] for event in completed],
        "state": json.loads((folder / "out.json").read_text()),
    }


@pytest.mark.parametrize(
    "door", [by_run, by_fixture, by_case, pytest.param(by_command, marks=pytest.mark.slow)]
)
def test_every_workflow_ends_alike(door: Callable[[Row, Path], End], tmp_path: Path) -> None:
    ends = {row["name"]: door(row, new(tmp_path, row)) for row in ROWS}
    assert differences(ends) == {}


def new(folder: Path, row: Row) -> Path:
    """Return a new folder for the files of a row."""
    own = folder / str(ROWS.index(row))
    own.mkdir()
    return own


def differences(ends: Mapping[str, End]) -> dict[str, tuple[End, End]]:
    """Return the rows that did not end as expected, each with what was expected and found."""
    expected = {row["name"]: row["expect"] for row in ROWS}
    return {name: (expected[name], end) for name, end in ends.items() if end != expected[name]}


async def all_ends(run: Callable[[Row], Awaitable[End]]) -> dict[str, End]:
    ends = await asyncio.gather(*map(run, ROWS))
    return {row["name"]: end for row, end in zip(ROWS, ends, strict=True)}


@pytest.mark.slow
async def test_every_workflow_ends_alike_in_async_code() -> None:
    async def run(row: Row) -> End:
        return end_of(await worker.run_async(loaded(row), row["input"]))

    assert differences(await all_ends(run)) == {}


async def test_every_workflow_ends_alike_in_a_pool() -> None:
    async with worker.Pool(2) as pool:

        async def run(row: Row) -> End:
            return end_of(await pool.run(loaded(row), row["input"]))

        assert differences(await all_ends(run)) == {}


# --- fleets ---------------------------------------------------------------------------------------


async def by_client(client: worker.Client, row: Row) -> End:
    order = await client.submit(plan=to_execution_plan(loaded(row)), input=row["input"])
    run = await client.wait(order["last_run"])
    steps = (await client.run(run["run_id"]))["steps"]
    return {
        "status": run["status"],
        "error_type": run["error_type"],
        "error_message": run["error_message"],
        "path": [
            [step["job_id"], STATUS_OF_REASON[step["reason"]].value] for step in in_order(steps)
        ],
        "state": await client.final_state(run["run_id"]),
    }


def in_order(steps: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield from sorted(steps, key=lambda step: step["completed_seq"])


async def test_every_workflow_ends_alike_in_a_local_fleet() -> None:
    async with worker.local_fleet() as client:
        ends = await all_ends(lambda row: by_client(client, row))
    assert differences(ends) == {}


@needs_mosquitto
async def test_every_workflow_ends_alike_in_a_fleet_over_mqtt(tmp_path: Path) -> None:
    with fleet(tmp_path) as made:
        made.control("--allow-inline-secrets")
        made.worker("north", "--allow-python")
        async with at(made) as (client, _):
            ends = await all_ends(lambda row: by_client(client, row))
    assert differences(ends) == {}
