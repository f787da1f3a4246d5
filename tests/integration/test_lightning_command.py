"""``worker start --lightning`` and ``worker fetch``, as users start them."""

from __future__ import annotations

import asyncio
import http.server
import json
import os
import signal
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.command import WORKER, call_worker
from tests.support.lightning import job, plan
from worker.cli.lightning_process import read_secret
from worker.cli.lightning_url import check_url
from worker.errors import UsageError, WorkerError
from worker.fleet.messaging.broker import free_port
from worker.testing.lightning import Fault, Server

SLOW = "fn(s => new Promise(done => setTimeout(() => done(s), 300)))"


@pytest.mark.slow
async def test_worker_is_started_drained_and_ends(tmp_path: Path) -> None:
    secret, port = tmp_path / "secret", free_port()
    async with Server() as server:
        secret.write_text(f"{server.secret}\n")
        run_id = server.add_run(plan(job(SLOW)), {"data": {}})
        worker = await asyncio.create_subprocess_exec(
            *WORKER, "start", "--lightning", server.url, "--secret-file", str(secret), "--outbox",
            str(tmp_path / "outbox"), "--record", str(tmp_path / "runs"), "--quiet",
            env={**os.environ, "WORKER_LIGHTNING_PUBLIC_KEY": server.public_key,
                 "WORKER_CAPACITY": "1", "WORKER_PORT": str(port)},
        )  # fmt: skip
        await server.wait_for(lambda: bool(server.runs[run_id].steps))
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"http://127.0.0.1:{port}/livez")).status_code == 200
            assert (await client.post(f"http://127.0.0.1:{port}/claim")).status_code == 200
            assert (await client.post(f"http://127.0.0.1:{port}/livez")).status_code == 405
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(worker.wait(), 60) == 0
    assert server.runs[run_id].state == "success" and not server.violations
    assert [run_id in file.name for file in (tmp_path / "runs").iterdir()] == [True]


@pytest.mark.slow
async def test_worker_that_is_killed_and_started_again(tmp_path: Path) -> None:
    """A run under way ends as an exception, and one that had ended as it did."""
    outbox = tmp_path / "outbox"
    command = (*WORKER, "start", "--outbox", str(outbox), "--capacity", "2", "--quiet")
    async with Server() as server:
        environment = {
            **os.environ, "WORKER_SECRET": server.secret,
            "WORKER_LIGHTNING_SERVICE_URL": server.url,
        }  # fmt: skip
        endless = server.add_run(plan(job("fn(s => { for (;;); })")), {"data": {}})
        ended = server.add_run(plan(job("fn(s => s)")), {"data": {"n": 1}})
        server.inject("run:complete", Fault.LOSE_REQUEST, run_id=ended)
        server.keep_frames = True
        worker = await asyncio.create_subprocess_exec(*command, env=environment)
        await server.wait_for(
            lambda: (
                server.runs[endless].steps
                and any(frame.event == "run:complete" for frame in server.frames)
            )
        )
        worker.kill()
        await worker.wait()
        files = sorted(outbox.glob("*.jsonl"))
        assert [file.stem for file in files] == sorted((endless, ended))
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        worker = await asyncio.create_subprocess_exec(*command, env=environment)
        runs = [await server.wait(run_id) for run_id in (endless, ended)]
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(worker.wait(), 60) == 0
    assert [run.state for run in runs] == ["exception", "success"]
    ends = [run.complete for run in runs]
    assert ends[0] and ends[0]["error_type"] == "WorkerRestarted"
    assert ends[1] and ends[1]["final_state"] == {"data": {"n": 1}}
    assert not list(outbox.glob("*.jsonl"))
    # The reply to an event may come after the kill: it is sent again then, and had arrived.
    assert all("already been taken" in text for text in server.violations)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lightning", "ws://x/worker"], "needs a secret"),
        (["--lightning", "http://x/worker"], "expected ws"),
        (["--lightning", "ws://x/worker", "--allow-python"], "leave out"),
        (["--no-public-hosts"], "need --lightning"),
    ],
)
def test_options_that_contradict(
    options: list[str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WORKER_CACHE", str(tmp_path))
    if "http" in options[-1]:
        monkeypatch.setenv("WORKER_SECRET", "s")
    done = call_worker("start", *options)
    assert done.returncode == 2 and message in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--autoinstall",), "need --lightning"),
        (("--allow-adaptor", "x"), "--allow-adaptor is about --autoinstall"),
        (("--lightning", "ws://x/worker", "--autoinstall"), "needs Node and npm"),
    ],
)
def test_autoinstall_needs_lightning_and_node(
    options: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKER_SECRET", "s")
    monkeypatch.setenv("PATH", str(tmp_path))
    done = call_worker("start", *options)
    assert done.returncode == 2 and message in done.stderr, done.stderr


def test_secrets_and_addresses(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    for file in (tmp_path / "empty", tmp_path / "absent"):
        with pytest.raises(WorkerError):
            read_secret(file, "s")
    assert read_secret(None, "s") == "s"
    with pytest.raises(UsageError):
        check_url("wss://", "ws", "wss", form="ws[s]://HOST")


class _Api(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        allowed = self.headers["authorization"] == "Bearer t0ken"
        known = "gone" not in self.path
        content = (
            b"name: p\n" if "yaml" in self.path else json.dumps({"data": {"id": "1"}}).encode()
        )
        self.send_response(200 if allowed and known else 404 if allowed else 401)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture
def api() -> Iterator[str]:
    server = http.server.HTTPServer(("127.0.0.1", 0), _Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_fetch(api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENFN_API_KEY", "t0ken")
    for name, content in (("p.yaml", "name: p\n"), ("p.json", '{\n  "id": "1"\n}\n')):
        done = call_worker("fetch", "1", "--lightning", api, "-o", tmp_path / name)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / name).read_text() == content


@pytest.mark.parametrize(
    ("project", "token", "message"),
    [("gone", "t0ken", "no such project"), ("1", "bad", "not accepted"), ("1", "a\nb", "a token")],
)
def test_fetch_that_is_refused(
    api: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    project: str,
    token: str,
    message: str,
) -> None:
    monkeypatch.setenv("OPENFN_API_KEY", token)
    done = call_worker("fetch", project, "--lightning", api, "-o", tmp_path / "p.json")
    assert done.returncode == 2 and message in done.stderr
