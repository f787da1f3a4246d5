"""The events of our worker, compared with those of OpenFn's for the same plans.

The data are transcripts of OpenFn's ws-worker 1.25.0, without what it logs of itself.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.lightning import attached
from worker.runner.pool import Pool
from worker.testing.lightning import Server, ServerRun

pytestmark = [
    pytest.mark.xdist_group("lightning"),
    pytest.mark.asyncio(loop_scope="module"),
]
DATA = Path(__file__).parents[1] / "data" / "lightning-transcripts.jsonl.gz"
TRANSCRIPTS = {
    transcript["name"]: transcript
    for transcript in map(json.loads, gzip.decompress(DATA.read_bytes()).splitlines())
}
# The differences that the documentation of "Attach to Lightning" lists.
ALLOWED = {
    "01-success-two-steps-logs": "objects in a line are printed as Node prints them",
    "02-fail-handled-by-failure-edge": "objects in a line are printed as Node prints them",
    "08-kill-security-error": "OpenFn's worker reports the step twice",
    "11-credential-ok": "the log has no secrets of credentials",
    "14-dataclip-withheld-payload-limit": "the next step has the output, and not [REDACTED]",
    "15-final-dataclip-withheld": "the final state is left out, and not [REDACTED]",
    "23-invalid-plan-cycle": "a cycle runs",
    "42-withheld-next-step-input": "the next step has the output, and not [REDACTED]",
}
# Of the process that OpenFn's worker has for each run; aborted steps have their mem and times here.
OPTIONAL_KEYS = {"thread_id", "mem", "duration", "timestamp"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[Pool]:
    async with Pool(2) as shared:
        yield shared


def shape(event: str, payload: dict[str, Any]) -> tuple[object, ...]:
    """Return what two workers must agree on."""
    if event == "run:log":
        return event, payload["level"], _text(payload["message"])
    keys = tuple(sorted(payload.keys() - OPTIONAL_KEYS))
    outcome = payload.get("reason"), payload.get("error_type")
    # The errors of steps have other details, so only their steps are compared.
    state = dict(payload.get("final_state") or {})
    state["errors"] = sorted(state.get("errors", ()))
    return event, keys, *outcome, json.dumps(state, sort_keys=True)


def _text(message: list[Any]) -> str:
    """Join the parts of a message, as the server does."""
    parts = (
        part if isinstance(part, str) else json.dumps(part, separators=(",", ":"))
        for part in message
    )
    return " ".join(parts)


def ours(run: ServerRun) -> list[tuple[object, ...]]:
    keys = {"run_id", "message", "source", "level", "timestamp", "step_id"}
    assert all(payload.keys() <= keys for event, payload in run.events if event == "run:log")
    return [
        shape(event, payload)
        for event, payload in run.events
        if event != "run:log" or payload["source"] == "JOB"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", TRANSCRIPTS)
async def test_events_are_those_of_openfns_worker(pool: Pool, name: str) -> None:
    transcript = TRANSCRIPTS[name]
    async with Server() as server:
        server.credentials |= transcript["credentials"]
        if (text := transcript.get("dataclip")) is not None:
            server.dataclips[transcript["plan"]["dataclip_id"]] = text
        keeps = transcript["plan"]["options"].get("output_dataclips", True)
        run_id = server.add_run(transcript["plan"], save_dataclips=keeps)
        async with attached(server, pool) as worker:
            run = await server.wait(run_id)
            await worker.drained()
    expected = [shape(event, payload) for event, payload in transcript["events"]]
    if name in ALLOWED:
        assert ours(run) != expected, f"it is no difference any more: {ALLOWED[name]}"
    else:
        assert ours(run) == expected
