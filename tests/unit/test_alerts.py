"""Delivery of alerts: the log, a command, a webhook, and channels that fail."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from worker.fleet.control.alerts import AlertNotifier
from worker.fleet.messaging import messages as wire

ALERT = wire.Alert(
    run_id="r", order_id="o", project="p", workflow="w", status="exception", at=1,
    error_type="OomError", error_message="é",
)  # fmt: skip


class RecordingLog:
    """A log whose entries the test reads."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, str, dict[str, Any]]] = []

    def critical(self, event: str, **fields: Any) -> None:
        self.entries.append(("critical", event, fields))

    def warning(self, event: str, **fields: Any) -> None:
        self.entries.append(("warning", event, fields))

    def info(self, event: str, **fields: Any) -> None:
        self.entries.append(("info", event, fields))

    @property
    def failures(self) -> list[str]:
        return [
            fields["error"] for _, event, fields in self.entries if event == "alert.delivery_failed"
        ]


def python(code: str) -> str:
    return shlex.join([sys.executable, "-c", code])


@contextlib.asynccontextmanager
async def webhook(status: str = "204 No Content") -> AsyncIterator[tuple[str, list[Any]]]:
    """Provide the URL of a server, and the requests (head, JSON body) that it has received."""
    received: list[Any] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].split("\r\n")[0])
        received.append((head, json.loads(await reader.readexactly(length))))
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/alerts", received


async def test_without_channels_an_alert_is_logged() -> None:
    log = RecordingLog()
    await AlertNotifier().notify(ALERT, log)
    ((level, event, fields),) = log.entries
    assert (level, event) == ("critical", "run.exception")
    assert (fields["run_id"], fields["error_type"]) == ("r", "OomError")


async def test_a_webhook_gets_the_alert_as_the_body_of_a_post() -> None:
    log = RecordingLog()
    async with webhook() as (url, received):
        await AlertNotifier(webhook=url).notify(ALERT, log)
    ((head, body),) = received
    assert head.startswith("post /alerts ") and "content-type: application/json" in head
    assert body == json.loads(wire.encode(ALERT))
    assert log.failures == []


async def test_a_command_gets_the_alert_on_its_stdin(tmp_path: Path) -> None:
    file = tmp_path / "alert.json"
    log = RecordingLog()
    code = f"import sys; open({str(file)!r}, 'wb').write(sys.stdin.buffer.read())"
    await AlertNotifier(command=python(code)).notify(ALERT, log)
    assert json.loads(file.read_bytes()) == json.loads(wire.encode(ALERT))
    assert log.failures == []


async def test_a_command_that_hangs_is_killed_after_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.fleet.control.alerts.TIMEOUT_S", 1.0)
    file = tmp_path / "pid"
    log = RecordingLog()
    code = (
        "import os, pathlib, time; "
        f"pathlib.Path({str(file)!r}).write_text(str(os.getpid())); time.sleep(600)"
    )
    async with webhook() as (url, received):
        notifier = AlertNotifier(command=python(code), webhook=url)
        async with asyncio.timeout(60):
            await notifier.notify(ALERT, log)
    assert log.failures == ["TimeoutError"]
    assert len(received) == 1, "the webhook comes after the command, and has its own time"
    if file.exists():  # on a machine under load it may be killed before it begins
        with pytest.raises(ProcessLookupError):
            for _ in range(500):
                os.kill(int(file.read_text()), 0)
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (python("raise SystemExit(3)"), "ended with code 3"),
        ("/does/not/exist", "No such file"),
        ("'unbalanced", "No closing quotation"),
    ],
)
async def test_a_command_that_fails_stops_no_webhook(command: str, reason: str) -> None:
    log = RecordingLog()
    async with webhook() as (url, received):
        await AlertNotifier(command=command, webhook=url).notify(ALERT, log)
    (failure,) = log.failures
    assert reason in failure
    assert len(received) == 1


async def test_a_webhook_that_fails_stops_no_command(tmp_path: Path) -> None:
    file = tmp_path / "ran"
    log = RecordingLog()
    code = f"import pathlib; pathlib.Path({str(file)!r}).touch()"
    async with webhook("500 Internal Server Error") as (url, _):
        await AlertNotifier(command=python(code), webhook=url).notify(ALERT, log)
    (failure,) = log.failures
    assert "500" in failure
    assert file.exists()
