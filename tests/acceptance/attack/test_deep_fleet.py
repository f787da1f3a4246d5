"""Attacks by content on a fleet: one order or one file, and no run of the worker is reported any
more. With a real broker. Each test says what it tries."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import worker
from tests.acceptance.attack.test_deep_content import LEVELS, deep, nest
from tests.support.fleets import at, fleet
from tests.support.helpers import job, workflow
from worker.workflow.save import to_execution_plan

GOOD = to_execution_plan(workflow(job("fn(s => ({ data: 1 }));")))


def plan(levels: int, end: str) -> dict[str, object]:
    return to_execution_plan(workflow(job(f"fn(s => {{ {nest(levels)} {end} }});")))


@pytest.mark.slow
@pytest.mark.parametrize("levels", LEVELS)
async def test_one_job_of_plain_javascript_stops_no_worker(levels: int) -> None:
    """Tries to have a report refused again and again, so that later runs are never reported."""
    async with worker.local_fleet() as client:
        ends = ("return { data: o };", "const e = new Error('x'); e.d = o; throw e;")
        orders = [await client.submit(plan=plan(levels, end)) for end in ends]
        orders.append(await client.submit(plan=GOOD))
        runs = [await client.wait(order["last_run"]) for order in orders]
        assert (runs[0]["status"], runs[0]["error_type"]) == ("killed", "StateTooLargeError")
        assert runs[1]["status"] in ("killed", "failed"), "no exception: nobody is alerted"
        assert runs[2]["status"] == "success"
        assert [run["attempt"] for run in runs] == [1, 1, 1], "none is executed twice"
        assert await client.alerts() == []


@pytest.mark.slow
async def test_an_input_that_no_parser_reads_is_refused_at_submission() -> None:
    async with worker.local_fleet() as client:
        state = {"data": json.loads(deep(900))}
        with pytest.raises(worker.WorkerError, match="nested too deeply"):
            await client.submit(plan=GOOD, input=state)
        order = await client.submit(plan=GOOD)
        assert (await client.wait(order["last_run"]))["status"] == "success"


@pytest.mark.slow
async def test_a_worker_starts_with_any_outbox_and_reports_its_runs(tmp_path: Path) -> None:
    """Tries to end the worker at each start, by what an earlier version left in its outbox."""
    outbox = tmp_path / "outbox-north"
    outbox.mkdir()
    lease = '{"run_id":"RUN","attempt":1,"token":"token-000001"}\n'
    event = '{"type":"run:complete","seq":0,"run_id":"RUN","reason":"success","final_state":'
    (outbox / "a.1.jsonl").write_text(f"{lease}{event}{deep(1000)}}}\n")
    (outbox / "b.1.jsonl").write_bytes(b"\xff\x00\n\n[[[")
    (outbox / "c.1.jsonl").write_text('{"run_id":"c","attempt":1,"token":"t","format":9}\n')
    (outbox / "d.1.jsonl").write_text("")
    with fleet(tmp_path) as made:
        made.control()
        north = made.worker("north")
        async with at(made) as (client, _):
            for levels in (1000, 1):
                order = await client.submit(plan=plan(levels, "return { data: o };"))
                run = await client.wait(order["last_run"])
                assert run["status"] == ("success" if levels == 1 else "killed"), run
                assert (run["attempt"], run["worker"]) == (1, "north")
        assert north.stop() == 0
        assert "Traceback" not in north.log.read_text()
        assert {path.name for path in (outbox / "dead-letter").glob("*.reason")} == {
            f"{name}.1.jsonl.reason" for name in "abc"
        }
        assert not list(outbox.glob("*.jsonl"))
