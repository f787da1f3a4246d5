"""Runs of a worker that is attached to the stand-in for Lightning, which is as strict as it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.lightning import attached, edge, job, plan
from worker.cli.lightning_process import lightning_metrics
from worker.lightning.claim_loop import Backoff, Workloop
from worker.lightning.delivery import LogBatches
from worker.lightning.run_plan import RunDefaults
from worker.lightning.worker_tokens import read_public_key
from worker.replay.record_runs import record_in
from worker.replay.recording import read_recording
from worker.replay.replayer import replay
from worker.runner.pool import Pool
from worker.sinks.log import stderr_logger
from worker.testing.lightning import Refuse, Server, ServerRun

pytestmark = [pytest.mark.xdist_group("lightning"), pytest.mark.asyncio(loop_scope="module")]


async def completed(
    server: Server, pool: Pool, plan: dict[str, Any], dataclip: Any = None, **options: Any
) -> ServerRun:
    """Execute one run; return it as the server has it."""
    save = options.pop("save_dataclips", True)
    async with attached(server, pool, **options) as worker:
        run_id = server.add_run(plan, dataclip or {"data": {}}, save_dataclips=save)
        run = await server.wait(run_id)
        await worker.drained()
    assert not server.joined(f"run:{run_id}")
    return run


def names(run: ServerRun) -> list[str]:
    return [event for event, _ in run.events if event != "run:log"]


OPENFN_ENDS = {
    "error": ("fn(s => { throw new Error('boom'); })", "failed", "JobError", "JobError"),
    "type error": ("fn(s => s.x.y)", "failed", "RuntimeError", "RuntimeError"),
    "range error": ("fn(s => { throw new RangeError('r'); })", "failed", "RuntimeError", "RuntimeError"),
    "undeclared name": ("fn(() => nope)", "crashed", "RuntimeCrash", "ReferenceError"),
    # Jobs have no process to exit from, there and here.
    "process.exit": ("fn(s => process.exit(1))", "crashed", "RuntimeCrash", "ReferenceError"),
    "syntax": ("fn(s => { return s;", "crashed", "CompileError", None),
    "import": ("import fs from 'fs'; fn(s => fs)", "crashed", "ImportError", "ImportError"),
    "eval": ("fn(s => eval('s'))", "killed", "SecurityError", "SecurityError"),
    "time": ("fn(s => { for (;;); })", "killed", "TimeoutError", "TimeoutError"),
    "memory": ("fn(s => { const a = []; for (;;) a.push(new Array(1e6).fill(1)); })",
               "killed", "OOMError", "OOMError"),
    "python": (None, "killed", "SecurityError", None),
}  # fmt: skip


@pytest.mark.parametrize(
    "cause",
    [
        pytest.param(cause, marks=pytest.mark.slow) if cause in ("time", "memory") else cause
        for cause in OPENFN_ENDS
    ],
)
async def test_end_of_a_run_in_openfns_words(server: Server, pool: Pool, cause: str) -> None:
    body, state, run_type, step_type = OPENFN_ENDS[cause]
    the_job = job(body) if body else job("def main(state): return state", adaptor="python")
    options = {"run_timeout_ms": 300, "run_memory_limit_mb": 60}
    if cause != "time":
        options["run_timeout_ms"] = 30_000
    run = await completed(server, pool, plan(the_job, options=options))
    assert run.complete is not None
    assert (run.state, run.complete["error_type"]) == (state, run_type)
    types = [step["error_type"] for step in run.steps.values()]
    assert types == ([] if step_type is None else [step_type])
    assert ("final_state" in run.complete) == (state == "failed")
    assert not server.violations
    texts = [log["message"][0] for log in run.logs][-2:]
    assert texts[0] == f"Run complete with status: {run.complete['reason']}"
    assert texts[1].startswith(f"{run_type}: ")


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes of runs in /proc")
async def test_process_that_exits_is_a_crash(server: Server, pool: Pool) -> None:
    run_id = server.add_run(plan(job("fn(s => { for (;;); })")), {"data": {}})
    async with attached(server, pool) as worker:
        await server.wait_for(lambda: bool(server.runs[run_id].steps))
        zygote = pool.zygote_pid
        for pid in Path(f"/proc/{zygote}/task/{zygote}/children").read_text().split():
            os.kill(int(pid), signal.SIGKILL)
        run = await server.wait(run_id)
        await worker.drained()
    assert run.complete is not None
    assert (run.state, run.complete["error_type"]) == ("crashed", "ExitError")
    assert [step["error_type"] for step in run.steps.values()] == ["ExitError"]
    assert not server.violations


async def test_two_steps(server: Server, pool: Pool) -> None:
    first = job("fn(s => { console.log('hi', {n: 1}); s.data.a = 1; return s; })")
    run = await completed(server, pool, plan(first, job("fn(s => s)")), {"data": {"x": "é"}})
    assert names(run) == [
        "fetch:plan", "fetch:dataclip", "run:start",
        "step:start", "step:complete", "step:start", "step:complete", "run:complete",
    ]  # fmt: skip
    assert run.complete is not None and run.complete["final_state"] == {"data": {"x": "é", "a": 1}}
    one, two = run.steps.values()
    assert one["input_dataclip_id"] == run.plan["dataclip_id"]
    assert two["input_dataclip_id"] == one["output_dataclip_id"]
    assert run.complete["final_dataclip_id"] == two["output_dataclip_id"]
    assert run.lines == ["hi { n: 1 }"]
    versions = next(payload for event, payload in run.events if event == "run:start")["versions"]
    assert versions["@openfn/language-common"] == ["3.3.4"] and versions["worker"]
    assert not server.violations


async def test_failure_edge_leads_to_success(server: Server, pool: Pool) -> None:
    fails, handles = job("fn(() => { throw new Error('x'); })"), job("fn(s => s)")
    the_plan = plan(fails, handles, edges=[edge(fails, handles, "on_job_failure")])
    assert (await completed(server, pool, the_plan)).state == "success"
    assert not server.violations


async def test_condition_that_throws(server: Server, pool: Pool) -> None:
    one, two = job("fn(s => s)"), job("fn(s => s)")
    run = await completed(
        server, pool, plan(one, two, edges=[edge(one, two, "state.nope.length > 0")])
    )
    assert run.complete is not None and run.complete["error_type"] == "EdgeConditionError"
    assert run.state == "crashed" and len(run.steps) == 1 and not server.violations


async def test_several_leaves(server: Server, pool: Pool) -> None:
    one, two, three = (job(f"fn(s => ({{data: {{...s.data, {k}: 1}}}}))") for k in "abc")
    run = await completed(
        server, pool, plan(one, two, three, edges=[edge(one, two), edge(one, three)])
    )
    assert run.complete is not None and "final_dataclip_id" not in run.complete
    assert run.complete["final_state"] == {
        two["id"]: {"data": {"a": 1, "b": 1}},
        three["id"]: {"data": {"a": 1, "c": 1}},
    }
    assert not server.violations


async def test_start_at_a_job(server: Server, pool: Pool) -> None:
    one, two = job("fn(s => s)"), job("fn(s => s)")
    the_plan = plan(one, two, starting_node_id=two["id"])
    run = await completed(server, pool, the_plan)
    assert [step["job_id"] for step in run.steps.values()] == [two["id"]]
    assert next(iter(run.steps.values()))["input_dataclip_id"] == run.plan["dataclip_id"]


@pytest.mark.parametrize("leaf", [True, False])
async def test_withheld_output(server: Server, pool: Pool, leaf: bool) -> None:
    big = job("fn(s => { s.data.blob = 'x'.repeat(2 * 1024 * 1024); return s; })")
    after = () if leaf else (job("fn(s => ({data: {size: s.data.blob.length}}))"),)
    run = await completed(server, pool, plan(big, *after, options={"payload_limit_mb": 1}))
    step = next(iter(run.steps.values()))
    assert step["output_dataclip_error"] == "DATACLIP_TOO_LARGE"
    assert "output_dataclip_id" not in step and run.state == "success"
    if not leaf:
        assert run.complete is not None
        # The next step has the output itself: only the report is without it.
        assert run.complete["final_state"] == {"data": {"size": 2 * 1024 * 1024}}
    assert not server.violations


@pytest.mark.slow
async def test_output_whose_frame_would_be_too_large(server: Server, pool: Pool) -> None:
    # Within the limit of payloads, but each quote takes two bytes in the frame.
    body = "fn(s => { s.data = {q: '\"'.repeat(4.5 * 1024 * 1024)}; return s; })"
    run = await completed(server, pool, plan(job(body)))
    assert next(iter(run.steps.values()))["output_dataclip_error"] == "DATACLIP_TOO_LARGE"
    assert run.state == "success" and not server.violations


async def test_project_that_keeps_no_data(server: Server, pool: Pool) -> None:
    the_plan = plan(job("fn(s => s)"), job("fn(s => s)"), options={"output_dataclips": False})
    run = await completed(server, pool, the_plan, save_dataclips=False)
    assert all("output_dataclip" not in step for step in run.steps.values())
    assert all(step["output_dataclip_id"] for step in run.steps.values())
    assert run.state == "success" and not server.violations


async def test_credentials_are_fetched_once(server: Server, pool: Pool) -> None:
    server.credentials["c"] = {"username": "u", "password": "hunter22"}
    body = "fn(s => { console.log(s.configuration.password); return {data: s.configuration}; })"
    run = await completed(
        server, pool, plan(job(body, credential_id="c"), job("fn(s => s)", credential_id="c"))
    )
    assert names(run).count("fetch:credential") == 1 and run.state == "success"
    assert "hunter22" not in json.dumps(run.events[4:])


EXCEPTIONS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "credential": ({"credential_id": "none"}, {}, "CredentialLoadError"),
    "dataclip": ({}, {"dataclip_id": "none"}, "DataClipError"),
    "adaptor": ({"adaptor": "@openfn/language-nosuchthing@9.9.9"}, {}, "AutoinstallError"),
}


@pytest.mark.parametrize("missing", EXCEPTIONS)
async def test_run_that_cannot_start(server: Server, pool: Pool, missing: str) -> None:
    fields, more, error_type = EXCEPTIONS[missing]
    async with attached(server, pool):
        run = await server.wait(server.add_run(plan(job("fn(s => s)", **fields), **more)))
    assert run.complete is not None
    assert (run.state, run.complete["error_type"]) == ("exception", error_type)
    assert "run:start" not in names(run)


async def test_dataclip_that_was_wiped(server: Server, pool: Pool) -> None:
    server.dataclips["wiped"] = "null"
    async with attached(server, pool):
        run = await server.wait(server.add_run(plan(job("fn(s => s)"), dataclip_id="wiped")))
    assert run.state == "success"


async def test_logs_of_jobs(server: Server, pool: Pool) -> None:
    body = """fn(s => { console.log('x', {name: 'Ada'}, [1]); console.log(''); return s; })"""
    by_policy = {}
    for options in (
        {},
        {"job_log_level": "none"},
        {"sanitize": "summarize"},
        {"sanitize": "remove"},
    ):
        run = await completed(server, pool, plan(job(body), options=options))
        by_policy[str(options)] = run.lines
    assert list(by_policy.values()) == [
        ["x { name: 'Ada' } [ 1 ]"],
        [],
        ["x (object with keys name) (array of length 1)"],
        ["x  "],
    ]
    assert not server.violations


@pytest.mark.parametrize("batch", [True, False])
async def test_many_log_lines(server: Server, pool: Pool, batch: bool) -> None:
    body = "fn(s => { for (let i = 0; i < 300; i++) console.log('line ' + i); return s; })"
    batches = LogBatches() if batch else None
    run = await completed(server, pool, plan(job(body)), batches=batches)
    assert run.lines == [f"line {i}" for i in range(300)] and not server.violations
    assert ("run:batch_logs" in names(run)) == batch
    if batch:
        assert len(run.events) < 40


async def test_batches_of_a_setting(server: Server, pool: Pool) -> None:
    body = "fn(s => { for (let i = 0; i < 30; i++) console.log(i); return s; })"
    async with attached(server, pool, batches=LogBatches(lines=7, wait_s=60)) as worker:
        run = await server.wait(server.add_run(plan(job(body)), {"data": {}}))
        await worker.drained()
    sizes = [len(lines["logs"]) for event, lines in run.events if event == "run:batch_logs"]
    # They are full: only another event, and no time that passes, ends the last one of a step.
    assert sizes[:5] == [7, 7, 7, 7, 2] and not server.violations


async def test_log_line_that_is_too_long(server: Server, pool: Pool) -> None:
    body = "fn(s => { console.log('x'.repeat(100)); return s; })"
    run = await completed(server, pool, plan(job(body), options={"log_payload_limit_mb": 0.00005}))
    assert len(run.lines) == 1 and len(run.lines[0]) < 80 and not server.violations


async def test_webhook_response(server: Server, pool: Pool) -> None:
    body = "fn(s => ({...s, webhookResponse: {status: 202, body: {ok: true}, more: 1}}))"
    run = await completed(server, pool, plan(job(body)))
    step = next(iter(run.steps.values()))
    assert step["webhook_response"] == {"status": 202, "body": {"ok": True}}


async def test_collections_have_the_token_of_the_run(server: Server, pool: Pool) -> None:
    body = """fn(s => ({data: {url: s.configuration.collections_endpoint,
        size: s.configuration.collections_token.length, user: s.configuration.user,
        project: s.configuration.project_id}}));
        // collections.get"""
    server.credentials["c"] = {"user": "u"}
    defaults = RunDefaults(collections_url="https://c.example/collections")
    run = await completed(server, pool, plan(job(body, credential_id="c")), defaults=defaults)
    assert run.complete is not None
    data = run.complete["final_state"]["data"]
    assert (data["url"], data["user"]) == ("https://c.example/collections", "u")
    assert data["project"] == run.plan["project_id"]
    assert data["size"] > 300 and not server.violations


# --- claims, tokens and channels ------------------------------------------------------------------


async def test_never_over_the_room(server: Server, pool: Pool) -> None:
    server.keep_frames = True
    async with attached(server, pool, capacity=2) as worker:
        ids = [server.add_run(plan(job("fn(s => s)")), {"data": {}}) for _ in range(7)]
        await server.announce()
        most = 0
        for run_id in ids:
            await server.wait(run_id)
            most = max(most, worker.worker.running)
        await worker.drained()
    assert most <= 2 and not server.violations
    claims = [frame.payload for frame in server.frames if frame.event == "claim"]
    assert max(claim["demand"] for claim in claims) == 2
    assert all(claim["worker_name"] == "w" for claim in claims)


async def test_claim_at_once(server: Server, pool: Pool) -> None:
    # The next claim by itself would come after an hour.
    async with attached(server, pool, backoff=Backoff(3600, 3600)) as worker:
        server.keep_frames = True
        await server.wait_for(lambda: any(frame.event == "claim" for frame in server.frames))
        run_id = server.add_run(plan(job("fn(s => s)")), {"data": {}})
        worker.worker.claim_now()
        await server.wait(run_id)
        await worker.drained()


@pytest.mark.parametrize(
    ("body", "status", "error_type"),
    [
        ("fn(s => s)", "success", ""),
        ("fn(s => s.x.y)", "failed", "TypeError"),
        ("fn(s => eval('s'))", "killed", "SecurityError"),
        ("import fs from 'fs'; fn(s => fs)", "killed", "ImportError"),
    ],
)
async def test_metrics_have_our_own_words(
    server: Server, pool: Pool, body: str, status: str, error_type: str
) -> None:
    async with attached(server, pool) as worker:
        await server.wait(server.add_run(plan(job(body)), {"data": {}}))
        await worker.drained()
    ends = next(m for m in lightning_metrics(worker.worker) if m.name == "lightning_runs_ended")
    assert ends.values == {f"{status},{error_type}": 1}


async def test_workloops_claim_their_queues(server: Server, pool: Pool) -> None:
    server.keep_frames = True
    loops = (Workloop(("fast_lane",), 1), Workloop(("manual", "*"), 2))
    async with attached(server, pool, workloops=loops) as worker:
        await server.wait(server.add_run(plan(job("fn(s => s)")), {"data": {}}))
        await worker.drained()
    join = next(frame for frame in server.frames if frame.event == "phx_join")
    assert join.payload == {"capacity": 3, "queues": {"fast_lane": 1, "manual>*": 2}}
    queues = {tuple(f.payload["queues"]) for f in server.frames if f.event == "claim"}
    assert queues == {("fast_lane",), ("manual", "*")}


async def test_token_of_another_server_is_refused_and_others_go_on(
    server: Server, pool: Pool
) -> None:
    async with Server(new_key=True) as other, attached(server, pool) as worker:
        forged, good = (server.add_run(plan(job("fn(s => s)")), {"data": {}}) for _ in range(2))
        other.runs[forged] = server.runs[forged]
        server.runs[forged].token = other.token(forged)
        await server.wait(good)
        await worker.drained()
    assert server.runs[forged].events == [] and "run.refused" in worker.log.names


@pytest.mark.parametrize("claims", [{"exp": 1}, {"iss": "other"}, {"id": "other"}])
async def test_bad_claims_of_a_token(server: Server, pool: Pool, claims: dict[str, Any]) -> None:
    async with attached(server, pool) as worker:
        bad, good = (server.add_run(plan(job("fn(s => s)")), {"data": {}}) for _ in range(2))
        server.runs[bad].token = server.token(bad, **claims)
        await server.wait(good)
    assert "run.refused" in worker.log.names and not server.runs[bad].events


async def test_secret_that_is_wrong_ends_the_worker(server: Server, pool: Pool) -> None:
    async with attached(server, pool, secret="x" * 32) as worker:
        with pytest.raises(Exception, match="check the secret"):
            await worker.task


async def test_join_refused_frees_the_slot(server: Server, pool: Pool) -> None:
    first = server.add_run(plan(job("fn(s => s)")), {"data": {}})
    server.inject("phx_join", Refuse({"reason": "unauthorized"}), run_id=first)
    async with attached(server, pool, capacity=1) as worker:
        run = await server.wait(server.add_run(plan(job("fn(s => s)")), {"data": {}}))
        await worker.drained()
    assert run.state == "success" and server.runs[first].state == "claimed"
    assert "run.abandoned" in worker.log.names


@pytest.mark.parametrize("answer", [None, {"jobs": 7}, {"jobs": [1]}])
async def test_plan_that_cannot_be_had_frees_the_slot(
    server: Server, pool: Pool, answer: Any
) -> None:
    first = server.add_run(plan(job("fn(s => s)")), {"data": {}})
    if answer is None:
        server.inject("fetch:plan", Refuse("no"), run_id=first)
    else:
        server.runs[first].plan.update(answer)
    async with attached(server, pool, capacity=1) as worker:
        run = await server.wait(server.add_run(plan(job("fn(s => s)")), {"data": {}}))
        await worker.drained()
    assert run.state == "success" and "run.abandoned" in worker.log.names


async def test_plan_that_is_no_workflow(server: Server, pool: Pool) -> None:
    run = await completed(server, pool, plan(job("fn(s => s)"), starting_node_id="nowhere"))
    assert run.complete is not None and run.complete["reason"] == "crash"
    assert names(run) == ["fetch:plan", "fetch:dataclip", "run:start", "run:complete"]


async def test_drain_finishes_what_runs_and_claims_no_more(server: Server, pool: Pool) -> None:
    slow = "fn(s => new Promise(done => setTimeout(() => done(s), 200)))"
    # With room for a second run, a claim that was sent before the drain could receive the late run.
    async with attached(server, pool, capacity=1) as worker:
        run_id = server.add_run(plan(job(slow)), {"data": {}})
        await server.wait_for(lambda: server.runs[run_id].state == "started")
        worker.worker.drain()
        late = server.add_run(plan(job(slow)), {"data": {}})
        await server.announce()
        await asyncio.wait_for(worker.task, 20)
    assert server.runs[run_id].state == "success" and server.runs[late].state == "available"
    assert not server.joined("worker:queue")


async def test_drain_cancels_at_its_deadline(server: Server, pool: Pool) -> None:
    async with attached(server, pool) as worker:
        run_id = server.add_run(plan(job("fn(s => { for (;;); })")), {"data": {}})
        await server.wait_for(lambda: bool(server.runs[run_id].steps))
        await worker.drained(0.05)
    complete = server.runs[run_id].complete
    assert complete is not None and complete["reason"] == "cancel" and not server.violations


@pytest.mark.slow
async def test_recordings_of_runs(server: Server, pool: Pool, tmp_path: Path) -> None:
    server.credentials["c"] = {"password": "hunter22"}
    run_id = server.add_run(
        plan(job("fn(s => ({data: {got: s.configuration.password}}))", credential_id="c")),
        {"data": {}},
    )
    async with attached(
        server,
        pool,
        start_recording=record_in(tmp_path, stderr_logger(50)),
    ) as running:
        await server.wait(run_id)
        await running.drained()
    (file,) = tmp_path.iterdir()
    assert run_id in file.name and b"hunter22" not in file.read_bytes()
    assert (await replay(pool, read_recording(file))).divergence is None


@pytest.mark.slow
async def test_public_key_is_checked() -> None:
    with pytest.raises(Exception, match="expected base64 of a PEM"):
        read_public_key("bm9uZQ==")
