"""Attacks by the server of Lightning, or by somebody between it and the worker."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.dashboard_fleet import DiscardingLog
from tests.support.lightning import attached, job, plan
from tests.support.services import Asked, serving
from worker.cli import fetch
from worker.cli.lightning_url import check_url
from worker.errors import UsageError
from worker.lightning import sandbox_runs
from worker.lightning.channels import ChannelSocket
from worker.lightning.run_plan import RunPlanError, read_input, read_run_plan
from worker.lightning.sandbox_runs import SandboxRuns
from worker.lightning.serializer import FrameError, decode_frame
from worker.lightning.worker_tokens import RunTokenError, read_run_token
from worker.runner.pool import Pool
from worker.testing.lightning import Server


def token(claims: bytes) -> str:
    parts = (b'{"alg":"RS256","typ":"JWT"}', claims, b"x")
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


ODD_TOKENS = {
    "expires in 10^400 s": token(b'{"exp":1' + b"0" * 400 + b"}"),
    "number of 5000 digits": token(b'{"exp":' + b"9" * 5000 + b"}"),
    "nested": token(b'{"exp":' + b"[" * 100_000 + b"}"),
    "list": token(b"[1]"),
    "no number": token(b'{"exp":NaN}'),
    "half a pair": "\ud800",
    "empty": "",
}


@pytest.mark.parametrize("text", ODD_TOKENS.values(), ids=ODD_TOKENS)
def test_an_odd_token_is_that_of_one_run(text: str) -> None:
    """Tries to stop a worker, by the token of one run that it claims."""
    assert read_run_token("a", text, None).expires_s < 1e11
    with pytest.raises(RunTokenError):
        read_run_token("a", text, "no key")


class OddServer(Server):
    """Server whose first claims bring odd runs."""

    def __init__(self, *odd: Any) -> None:
        super().__init__()
        self.odd = list(odd)

    def _claim(self, frame: Any) -> Any:
        return self.odd.pop() if self.odd else super()._claim(frame)


@pytest.mark.slow
async def test_a_worker_goes_on_claiming_after_odd_answers() -> None:
    """Tries to stop a worker, by answers to its claims."""
    odd: list[Any] = [{"runs": [{"id": "a", "token": text}]} for text in ODD_TOKENS.values()]
    odd += [None, 5, {"runs": 5}, {"runs": [None, [], {"id": "../../x", "token": "t"}]}]
    server = OddServer(*odd)
    async with Pool(1) as pool, server, attached(server, pool):
        run = await server.wait(server.add_run(plan(job("fn(s => s);")), {"data": {}}))
    assert run.state == "success" and server.odd == []


def test_limits_out_of_range_are_the_nearest() -> None:
    """Tries to lose a run: with limits that nothing can hold."""
    options = {
        "run_timeout_ms": 10**400, "run_memory_limit_mb": 0.5, "payload_limit_mb": 1e300,
        "log_payload_limit_mb": float("nan"),
    }  # fmt: skip
    limits = read_run_plan({"jobs": [], "options": options}).limits
    assert (limits.timeout_s, limits.memory_mb, limits.payload_mb) == (86_400, 8, 1000)
    assert limits.log_payload_mb == 1


MANY = b'{"a":[' + b"{}," * 1_100_000 + b"0]}"


@pytest.mark.parametrize(
    "content", [b'{"a":1e999}', b'{"a":NaN}', b"[" * 100_000, b"\xff", MANY],
    ids=["infinite", "no number", "nested", "no text", "many values"],
)  # fmt: skip
def test_a_dataclip_that_is_no_json_is_refused(content: bytes) -> None:
    """Tries to end a run as a defect of the worker."""
    with pytest.raises(RunPlanError):
        read_input(content)


@pytest.mark.parametrize("payload", [MANY, b"[" * 300 + b"]" * 300], ids=["many", "nested"])
def test_a_frame_that_takes_much_more_than_its_text_is_refused(payload: bytes) -> None:
    """Tries to fill the memory of a worker, or to exhaust its stack, by a frame."""
    with pytest.raises(FrameError, match=r"too many values|nested too deeply"):
        decode_frame(b'[null,"1","t","phx_reply",%b]' % payload, is_text=True)


async def test_workflows_of_runs_are_kept_within_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries to fill the memory of a worker, by runs that each have another large job."""
    monkeypatch.setattr(sandbox_runs, "MAX_CACHED_BYTES", 200_000)
    runs = SandboxRuns(Pool(1))
    for number in range(5):
        runs.load(read_run_plan(plan(job(f"// {number} {'x' * 20_000}"))))
    assert 100_000 < runs._load.held_bytes <= 200_000


def fetched(body: bytes, **headers: str) -> bytes:
    def respond(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        return 200, headers, body

    with serving(respond) as service:
        return fetch.get_project(service.url(), "p", "t", as_yaml=False)


def test_a_project_that_decompresses_to_any_size_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tries to fill the memory of who fetches a project."""
    monkeypatch.setattr(fetch, "MAX_PROJECT_BYTES", 1024 * 1024)
    with pytest.raises(UsageError, match="over the limit of 1 MB"):
        fetched(gzip.compress(bytes(4 * 1024 * 1024)), **{"content-encoding": "gzip"})


def test_a_project_is_decompressed_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries a bomb within a bomb: what arrived was decompressed whole, before any limit."""
    monkeypatch.setattr(fetch, "MAX_PROJECT_BYTES", 1024 * 1024)
    bomb = gzip.compress(gzip.compress(bytes(32 * 1024 * 1024)))
    tracemalloc.start()
    try:
        with pytest.raises(UsageError, match="over the limit of 1 MB"):
            fetched(bomb, **{"content-encoding": "gzip, gzip"})
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 16 * 1024 * 1024


def test_a_project_with_any_number_of_codings_is_refused() -> None:
    body = b"{}"
    for _ in range(6):
        body = gzip.compress(body)
    with pytest.raises(UsageError, match="more than 5 content codings"):
        fetched(body, **{"content-encoding": ", ".join(["gzip"] * 6)})


def test_a_service_that_sends_a_byte_at_a_time_has_no_more_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each byte was in time, and so the request had no end."""
    with dripping() as url, pytest.raises(UsageError, match="no whole reply within"):
        fetch.get_project(url, "p", "t", as_yaml=False, timeout_s=0.3)


@contextmanager
def dripping() -> Iterator[str]:
    """Provide the URL of a service that sends a space every 50 ms, for at most 20 s."""
    ended = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
            for _ in range(400):
                if ended.wait(0.05):
                    return
                with suppress(OSError):
                    connection.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve)
        server.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ended.set()
            server.join()


@pytest.mark.parametrize("body", [b'{"data":' + b"[" * 100_000, b"[]", b"{}", b"\xff"])
def test_an_answer_that_is_no_project_is_refused(body: bytes) -> None:
    with pytest.raises(UsageError, match="has sent no project"):
        fetched(body)


@pytest.mark.parametrize("address", ["http://u:p4zz@[", "http://u:p4zz@h:99999", "u:p4zz@h"])
def test_no_error_names_the_password_of_an_address(address: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        fetch.get_project(address, "p", "t", as_yaml=False)
    assert "p4zz" not in str(caught.value) or "://" not in address


@pytest.mark.parametrize(
    "address", ["ws://h#x", "ws://h/?x=1", "ws://h#", "ws://" + "a" * 64, "ws:///x", "ws://[::1"]
)
def test_an_address_that_nothing_can_follow_is_refused(address: str) -> None:
    """What follows an address is the token: errors of the library quoted both."""
    with pytest.raises(UsageError, match="not an address of Lightning"):
        check_url(address, "ws", "wss", form="wss://HOST")


async def test_no_log_of_an_invalid_address_has_the_token() -> None:
    class Log(DiscardingLog):
        def warning(self, event: str, **fields: Any) -> None:
            logged.set_result(fields["error"])

    logged = asyncio.get_running_loop().create_future()
    connecting = asyncio.create_task(ChannelSocket("ws://h#x", {"token": "hunter2"}, Log()).run())
    assert "hunter2" not in await logged
    connecting.cancel()


def test_json_of_a_project_is_kept() -> None:
    assert json.loads(fetched(b'{"data": {"name": "p"}}')) == {"name": "p"}
