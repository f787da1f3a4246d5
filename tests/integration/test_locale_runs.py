"""Runs of workflows that name a function with a locale: their realm, limits and errors."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.helpers import check_events, job, workflow
from worker.core.events import RunComplete
from worker.core.status import Status
from worker.runner.pool import Pool
from worker.runner.prepare import Options, prepare
from worker.runner.result import Result
from worker.sandbox.limits import Limits
from worker.sandbox.protocol import INTL_LIBRARIES, USUAL_REALM, RealmContents

FORMATS = (
    "fn(s => ({ ...s, at: new Date(0).toLocaleString('sv', { timeZone: 'Africa/Nairobi' }) }));"
)
NAIROBI = "1970-01-01 03:00:00"
PYTHON = {
    "id": "p",
    "adaptor": "python",
    "expression": "def step(s):\n    return {**s, 'python': True}\n",
}
WITH_LOCALES = RealmContents(libraries=INTL_LIBRARIES)


def realms(pool: Pool) -> set[RealmContents]:
    return set(pool._processes._zygotes)


def peak_bytes(result: Result) -> int:
    return next(event.mem for event in result.events if isinstance(event, RunComplete))


@pytest.mark.slow
async def test_a_run_that_names_no_locale_starts_nothing_for_them() -> None:
    flow = workflow(job("fn(s => ({ ...s, text: (1234.5).toFixed(1) }));"))
    async with Pool(size=1) as pool:
        assert (await pool.run(flow)).status == "success"
        assert realms(pool) == {USUAL_REALM}


ON_A_RUNNER = (job(FORMATS),), {"data": {}, "at": NAIROBI}
IN_ITS_PROCESS = (job(FORMATS, next="p"), PYTHON), {"data": {}, "at": NAIROBI, "python": True}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps", "state"), [ON_A_RUNNER, IN_ITS_PROCESS], ids=["runner", "process"]
)
async def test_a_job_formats_with_a_locale_and_a_zone(
    steps: tuple[dict[str, Any], ...], state: dict[str, Any]
) -> None:
    async with Pool(size=1) as pool:
        result = await pool.run(workflow(*steps))
        check_events(result)
        assert result.final_state == state
        assert WITH_LOCALES in realms(pool)


@pytest.mark.slow
async def test_a_condition_alone_gives_the_whole_run_locale_data() -> None:
    condition = "new Intl.DateTimeFormat('sv').format(0) === '1970-01-01'"
    flow = workflow(job("fn(s => s);", next={"b": condition}), job("fn(s => ({ b: true }));", "b"))
    async with Pool(size=1) as pool:
        assert (await pool.run(flow)).final_state == {"b": True}


@pytest.mark.slow
async def test_conditions_are_evaluated_with_locale_data_outside_of_runs_too() -> None:
    edge = {"b": "(0.5).toLocaleString('sv') === '0,5'"}
    flow = workflow(job("fn(s => s);", next=edge), job("fn(s => s);", "b"))
    async with Pool(size=1) as pool:
        evaluator = await pool._processes.start_evaluator(prepare(flow, {}, Options(), "r"))
        evaluator._channel.settimeout(60)
        assert evaluator.startup_error() is None
        assert evaluator.evaluate("a", "{}", now_us=0, seed=None).taken == (True,)
        evaluator.close()


@pytest.mark.slow
async def test_a_refusal_fails_the_step_and_names_the_call() -> None:
    flow = workflow(job("fn(s => ({ at: new Date(0).toLocaleDateString('de-DE') }));"))
    async with Pool(size=1) as pool:
        result = await pool.run(flow)
    assert (result.status, result.error_type) == (Status.FAILED, "RangeError")
    assert result.error is not None and result.error.position is not None
    assert "toLocaleDateString('de-DE') is not supported here" in (result.error_message or "")
    assert "use date-fns format(date, 'dd.MM.yyyy')" in (result.error_message or "")


# --- memory ---------------------------------------------------------------------------------------

SMALL = Options(limits=Limits(memory_mb=16))


@pytest.mark.slow
async def test_the_image_counts_neither_in_the_limit_nor_in_the_peak() -> None:
    async with Pool(size=1) as pool:
        result = await pool.run(workflow(job(FORMATS)), {}, SMALL)
        assert result.final_state == {"data": {}, "at": NAIROBI}
        assert peak_bytes(result) < 2e6


@pytest.mark.slow
async def test_the_limit_still_holds_above_the_image() -> None:
    hog = "fn(s => { const a = []; for (;;) a.push((0.5).toLocaleString('sv').repeat(1e4 + a.length)); });"
    async with Pool(size=1) as pool:
        result = await pool.run(workflow(job(hog)), {}, SMALL)
        assert result.error_type == "OomError"
        assert peak_bytes(result) < 17 * 2**20


@pytest.mark.slow
async def test_many_workflows_with_locale_data_share_a_runner() -> None:
    async with Pool(size=1) as pool:
        for number in range(40):
            flow: Any = workflow(job(f"{FORMATS}\nfn(s => ({{ ...s, n: {number} }}));"))
            result = await pool.run(flow, {}, SMALL)
            assert result.final_state == {"data": {}, "at": NAIROBI, "n": number}, result.error


@pytest.mark.slow
async def test_the_image_counts_neither_beside_python_steps() -> None:
    # The process that makes an image has it in its memory, and so have those that it forks.
    async with Pool(size=1) as first:
        await first.run(workflow(job(FORMATS)), {}, SMALL)
    async with Pool(size=1) as pool:
        usual = await pool.run(workflow(job("fn(s => s);", next="p"), PYTHON), {}, SMALL)
        result = await pool.run(workflow(job(FORMATS, next="p"), PYTHON), {}, SMALL)
        assert result.final_state == {"data": {}, "at": NAIROBI, "python": True}, result.error
        assert peak_bytes(result) - peak_bytes(usual) < 4e6
