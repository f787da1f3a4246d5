"""Phoenix's own client and the stand-in for Lightning understand each other."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from tests.support.lightning import job, plan
from worker.lightning.worker_tokens import worker_token
from worker.testing.lightning import Server

CLIENT = Path(__file__).parents[1] / "data/phoenix_client.mjs"
PACKAGES = ("phoenix@1.8.16", "ws@8.18.0")
INPUT = {"data": {"größe": "\U0001f600"}}
CACHE = Path(__file__).parents[2] / ".cache/phoenix"


def install() -> None:
    if not (CACHE / "node_modules/ws").is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        options = ("--no-save", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund")
        subprocess.run(["npm", "install", *options, *PACKAGES], cwd=CACHE, check=True)


@pytest.mark.npm
@pytest.mark.slow
async def test_phoenixs_client_reports_a_run() -> None:
    await asyncio.to_thread(install)
    async with Server() as server:
        run_id = server.add_run(plan(job("fn(s => s)")), INPUT)
        token = worker_token(server.secret, "phoenix")
        process = await asyncio.create_subprocess_exec(
            "node", CLIENT, server.url, token, cwd=CACHE, stdout=-1, stderr=-1
        )
        await server.wait_for(lambda: server.joined("worker:queue") > 0)
        await server.announce()
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        reply = json.loads(out)
        assert reply["run"] == run_id and json.loads(reply["input"]) == INPUT
        assert reply["refused"] == '{"errors":{"step_id":["not found"]}}'
        assert server.runs[run_id].state == "success"
        assert len(server.violations) == 1
