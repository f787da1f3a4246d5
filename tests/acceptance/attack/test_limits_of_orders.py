"""Attacks by limits: a file or an order tries to be given more than it may have, or to end the
machinery by numbers that make no sense. One table over all doors."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import worker
from tests.support.command import start_worker
from tests.support.helpers import job
from worker.errors import LoadError, UsageError, WorkerError
from worker.fleet.worker.run_executor import Allowance
from worker.sandbox.limits import Limits
from worker.testing import WorkflowUnderTest
from worker.testing.case_reader import load_cases
from worker.testing.case_runner import run_case

ENDLESS = "fn(() => { while (true) {} });"
WRONG: list[Any] = [-1, 0, True, 1e300, "100", [1]]


def write(folder: Path, options: dict[str, Any], source: str = ENDLESS) -> Path:
    steps = [{"id": "a", "adaptor": "@openfn/language-common@3.3.4", "expression": source}]
    file = folder / "flow.json"
    file.write_text(json.dumps({"options": options, "workflow": {"name": "w", "steps": steps}}))
    return file


async def by_command(file: Path) -> tuple[str, str | None]:
    journal = file.with_name("journal.jsonl")
    done = start_worker("run", str(file), "--quiet", "--journal", str(journal))
    if done.returncode == 2:
        raise UsageError(done.stderr)
    last = json.loads(journal.read_text().splitlines()[-1])
    return str(worker.Status.KILLED) if done.returncode == 4 else "", last["error_type"]


async def by_run(file: Path) -> tuple[str, str | None]:
    result = worker.run(worker.load(file))
    return result.status, result.error_type


async def by_pool(file: Path) -> tuple[str, str | None]:
    async with worker.Pool(size=1) as pool:
        result = await pool.run(worker.load(file))
    return result.status, result.error_type


async def by_case(file: Path) -> tuple[str, str | None]:
    cases = file.with_name("flow.cases.yaml")
    cases.write_text("workflow: flow.json\ncases: [{name: one, expect: {status: killed}}]\n")
    (case,) = load_cases(cases)
    (result,) = run_case(case).results
    return result.status, result.error_type


async def by_fixture(file: Path) -> tuple[str, str | None]:
    run = await WorkflowUnderTest(workflow=worker.load(file)).run_async()
    return run.status, run.error_type


async def by_local_fleet(file: Path) -> tuple[str, str | None]:
    async with worker.local_fleet(capacity=1) as client:
        order = await client.submit(plan=json.loads(file.read_text()))
        run = await client.wait(order["last_run"])
        assert await client.alerts() == []
    return run["status"], run["error_type"]


DOORS = [by_command, by_run, by_pool, by_case, by_fixture, by_local_fleet]
Door = Callable[[Path], Awaitable[tuple[str, str | None]]]


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS)
async def test_the_timeout_of_the_file_ends_the_run_in_every_door(
    door: Door, tmp_path: Path
) -> None:
    """Tries to run for ever, where a door does not read the limits of the file."""
    file = write(tmp_path, {"run_timeout_ms": 500})
    assert await door(file) == ("killed", "TimeoutError")


@pytest.mark.slow
@pytest.mark.parametrize("value", WRONG, ids=repr)
@pytest.mark.parametrize("door", DOORS)
async def test_a_limit_out_of_its_range_makes_no_run_in_any_door(
    door: Door, value: Any, tmp_path: Path
) -> None:
    """Tries to end the process that forks runs, by a limit that no machine has."""
    option = "run_memory_limit_mb"
    # One start of each is enough: all values go through the same reader.
    if door in (by_command, by_local_fleet) and value != 1e300:
        return
    with pytest.raises(WorkerError) as raised:
        await door(write(tmp_path, {option: value}))
    shape = rf"(?s).*options\.{option}: expected a whole number from 8 to 1,000,000, found .*"
    assert re.fullmatch(shape, str(raised.value))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"timeout_s": 1e300}, "options.timeout_s"),
        ({"timeout_s": 1e12}, "timeout_s: expected a number above 0 and up to 86,400, found 10000"),
        ({"timeout_s": -1.0}, "timeout_s: expected a number above 0 and up to 86,400, found -1.0"),
        ({"memory_mb": 1e300}, "options.memory_mb"),
        ({"memory_mb": 1e12}, "memory_mb: expected a whole number from 8 to 1,000,000, found 10000"),
        ({"memory_mb": 64.5}, "memory_mb: expected a whole number from 8 to 1,000,000, found 64.5"),
        ({"payload_mb": 0.0}, "payload_mb: expected a number above 0 and up to 1,000, found 0.0"),
        ({"state_mb": 1e9}, "state_mb: expected a number above 0 and up to 1,000,000, found 10000"),
        ({"memory_mb": True}, "options.memory_mb"),
        ({"memory_mb": "100"}, "options.memory_mb"),
    ],
    ids=repr,
)  # fmt: skip
async def test_an_order_with_a_limit_out_of_its_range_is_refused(
    options: dict[str, Any], named: str
) -> None:
    """Tries to wake the superuser by an order whose memory no process can have."""
    plan = {"workflow": {"steps": [{"id": "a", "expression": "fn(s => s);"}]}}
    async with worker.local_fleet(capacity=1) as client:
        with pytest.raises(WorkerError) as raised:
            await client.submit(plan=plan, options=worker.RunOptions(**options))
        assert named in str(raised.value)
        assert await client.orders() == [] and await client.alerts() == []


@pytest.mark.parametrize("arguments", [{"timeout": -1}, {"timeout": 1e300}, {"memory_mb": True}])
def test_an_argument_out_of_its_range_is_a_usage_error(
    arguments: dict[str, Any], tmp_path: Path
) -> None:
    flow = worker.load(write(tmp_path, {}))
    with pytest.raises(UsageError, match=r"(timeout|memory_mb): expected a"):
        worker.run(flow, **arguments)
    with pytest.raises(UsageError, match=r"(timeout_s|memory_mb): expected a"):
        WorkflowUnderTest(workflow=flow).with_limits(**arguments)


@pytest.mark.parametrize("value", ["-1", "1e300", "nan", "x", "true"])
def test_a_case_out_of_its_range_is_an_error_with_its_place(value: str, tmp_path: Path) -> None:
    write(tmp_path, {})
    cases = tmp_path / "flow.cases.yaml"
    cases.write_text(
        f"workflow: flow.json\ncases:\n  - name: one\n    timeout: {value}\n    expect: {{}}\n"
    )
    with pytest.raises(LoadError, match=r"flow\.cases\.yaml:4:\d+: cases\[0\]\.timeout: "):
        load_cases(cases)


@pytest.mark.slow
async def test_an_order_is_given_no_more_than_the_operator_allows() -> None:
    """Tries to use all memory of a worker whose operator has set no limit: the defaults hold."""
    # Above the cap, and below what the order and its file request.
    source = "fn(() => { const all = new Uint8Array(90e6).fill(1); return { data: all[5] }; });"
    plan = {
        "options": {"run_memory_limit_mb": 100_000},
        "workflow": {"steps": [job(source)]},
    }
    allowance = Allowance(max_limits=Limits(memory_mb=64))
    async with worker.local_fleet(capacity=1, allowance=allowance) as client:
        options = worker.RunOptions(memory_mb=900_000, timeout_s=80_000)
        order = await client.submit(plan=plan, options=options)
        run = await client.wait(order["last_run"])
        assert (run["status"], run["error_type"]) == ("killed", "OomError")
    assert Allowance().max_limits == Limits(), "the documented defaults"
