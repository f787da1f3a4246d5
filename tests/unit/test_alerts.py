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

import msgspec
import pytest

from worker.fleet.control import alerts
from worker.fleet.control.alerts import AlertDispatcher, AlertNotifier
from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.state_messages import Alert

ALERT = Alert(
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
async def webhook(*statuses: str) -> AsyncIterator[tuple[str, list[Any]]]:
    """Provide the URL of a server, and the requests (head, JSON body) that it has received.

    It responds with each status in turn, and with the last one from then on.
    """
    replies = list(statuses or ["204 No Content"])
    received: list[Any] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].split("\r\n")[0])
        received.append((head, json.loads(await reader.readexactly(length))))
        status = replies.pop(0) if len(replies) > 1 else replies[0]
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/alerts", received


class Dispatch:
    """A dispatcher whose bus and records the test sees."""

    def __init__(self, **channels: str) -> None:
        self.log = RecordingLog()
        self.published: list[Alert] = []
        self.bus_failures = 0
        self.records: list[tuple[set[str], bool]] = []
        notifier = AlertNotifier(**channels)
        self.dispatcher = AlertDispatcher(notifier, self.publish, self.record, self.log)

    async def publish(self, alert: Alert) -> None:
        if self.bus_failures:
            self.bus_failures -= 1
            raise ConnectionError("not connected")
        self.published.append(alert)

    async def record(self, run_id: str, channels: frozenset[str], complete: bool) -> None:
        self.records.append((set(channels), complete))

    async def until_delivered(self, delivered: frozenset[str] = frozenset()) -> None:
        self.dispatcher.add(ALERT, delivered)
        async with asyncio.timeout(60):
            while self.dispatcher.under_way:
                await asyncio.sleep(0.002)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "BACKOFF_S", 0.001)
    monkeypatch.setattr(alerts, "MAX_BACKOFF_S", 0.01)


async def test_without_channels_an_alert_is_logged_and_published() -> None:
    dispatch = Dispatch()
    await dispatch.until_delivered()
    ((level, event, fields),) = dispatch.log.entries
    assert (level, event) == ("critical", "run.exception")
    assert (fields["run_id"], fields["error_type"]) == ("r", "OomError")
    assert dispatch.published == [ALERT] and dispatch.records == [({"bus"}, True)]


async def test_each_channel_is_repeated_by_itself_until_it_succeeds(tmp_path: Path) -> None:
    """The webhook fails three times, the bus twice, the command once."""
    file = tmp_path / "tries"
    code = f"import pathlib; f = pathlib.Path({str(file)!r}); had = f.exists(); f.touch(); exit(not had)"
    statuses = ["503 Service Unavailable"] * 3 + ["204 No Content"]
    async with webhook(*statuses) as (url, received):
        dispatch = Dispatch(webhook=url, command=python(code))
        dispatch.bus_failures = 2
        await dispatch.until_delivered()
    failed = [fields["channel"] for _, event, fields in dispatch.log.entries if "failed" in event]
    assert sorted(failed) == ["bus"] * 2 + ["command"] + ["webhook"] * 3
    assert len(received) == 4 and dispatch.published == [ALERT]
    assert [complete for _, complete in dispatch.records] == [False, False, True]


async def test_what_was_delivered_before_a_restart_is_not_repeated() -> None:
    async with webhook() as (url, received):
        dispatch = Dispatch(webhook=url)
        await dispatch.until_delivered(frozenset({"bus"}))
        assert dispatch.published == [] and len(received) == 1
        await dispatch.until_delivered(frozenset({"bus", "webhook"}))
    assert len(received) == 1
    assert dispatch.records == [({"bus", "webhook"}, True)] * 2


async def test_an_alert_under_way_is_not_begun_again_and_stops_with_the_dispatcher() -> None:
    dispatch = Dispatch()
    dispatch.bus_failures = 10**9
    dispatch.dispatcher.add(ALERT)
    dispatch.dispatcher.add(ALERT)
    await asyncio.sleep(0)
    assert dispatch.dispatcher.under_way == 1
    await dispatch.dispatcher.close()
    await asyncio.sleep(0)
    assert dispatch.dispatcher.under_way == 0 and dispatch.records == []


class Database:
    """The deliveries of alerts, of which a dispatcher takes those that had no room in memory."""

    def __init__(self, dispatch: Dispatch, number: int) -> None:
        self.dispatcher = dispatch.dispatcher
        self.alerts = [msgspec.structs.replace(ALERT, run_id=f"r{each}") for each in range(number)]
        self.delivered: dict[str, frozenset[str]] = {}
        self.dispatcher._record = self.record

    async def record(self, run_id: str, channels: frozenset[str], complete: bool) -> None:
        self.delivered[run_id] = channels

    def having(self, channel: str) -> int:
        return sum(channel in channels for channels in self.delivered.values())

    def add(self, channel: str = "") -> None:
        """Add a page of the oldest alerts that a channel has not delivered."""
        none: frozenset[str] = frozenset()
        states = [(alert, self.delivered.get(alert.run_id, none)) for alert in self.alerts]
        page = [(alert, done) for alert, done in states if channel not in done]
        for alert, done in page[: alerts.MAX_WAITING + 1]:
            self.dispatcher.add(alert, done)

    async def until_having(self, channel: str, number: int) -> None:
        """Take what is left over, as a control plane does with each tick."""
        async with asyncio.timeout(30):
            while self.having(channel) < number:
                await asyncio.sleep(0.001)
                for ready in self.dispatcher.take_left_over():
                    self.add(ready)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "MAX_WAITING", 10)


async def never_delivered(url: str, body: bytes) -> None:
    raise OSError("no route")


@pytest.mark.usefixtures("few")
async def test_a_dead_webhook_keeps_no_alert_from_the_bus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fifty at once: each channel takes those that it has not delivered, with its own room."""
    monkeypatch.setattr(alerts, "_post", never_delivered)
    dispatch = Dispatch(webhook="http://dead")
    database = Database(dispatch, 50)
    for alert in database.alerts:
        dispatch.dispatcher.add(alert)
    await database.until_having("bus", 50)
    assert {alert.run_id for alert in dispatch.published} == {f"r{each}" for each in range(50)}
    assert len(dispatch.published) == 50, "none was published twice"
    assert dispatch.dispatcher.under_way == 10, "the webhook's"
    await dispatch.dispatcher.close()


@pytest.mark.usefixtures("few")
async def test_after_a_restart_each_channel_takes_its_own_oldest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The oldest alerts, which are the first page, are those of the dead webhook alone."""
    monkeypatch.setattr(alerts, "_post", never_delivered)
    dispatch = Dispatch(webhook="http://dead")
    database = Database(dispatch, 50)
    database.delivered = {f"r{each}": frozenset({"bus"}) for each in range(20)}
    database.add()
    assert dispatch.published == []
    dispatch.dispatcher.expect_left_over()
    await database.until_having("bus", 50)
    assert len(dispatch.published) == 30
    await dispatch.dispatcher.close()


@pytest.mark.usefixtures("few")
async def test_a_channel_that_works_again_delivers_what_was_left_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    received: list[str] = []
    works = asyncio.Event()

    async def post(url: str, body: bytes) -> None:
        if not works.is_set():
            raise OSError("no route")
        received.append(json.loads(body)["run_id"])

    monkeypatch.setattr(alerts, "_post", post)
    dispatch = Dispatch(webhook="http://back")
    database = Database(dispatch, 50)
    for alert in database.alerts:
        dispatch.dispatcher.add(alert)
    await database.until_having("bus", 50)
    works.set()
    await database.until_having("webhook", 50)
    assert sorted(received) == sorted(f"r{each}" for each in range(50))
    assert all(done == {"bus", "webhook"} for done in database.delivered.values())
    assert len(dispatch.published) == 50


@pytest.mark.usefixtures("few")
async def test_a_channel_is_asked_for_once_and_where_it_has_room() -> None:
    dispatch = Dispatch()
    dispatch.bus_failures = 10**9
    assert dispatch.dispatcher.take_left_over() == []
    for alert in Database(dispatch, 11).alerts:
        dispatch.dispatcher.add(alert)
    assert dispatch.dispatcher.under_way == 10 and dispatch.dispatcher.take_left_over() == []
    await dispatch.dispatcher.close()
    await asyncio.sleep(0)
    assert dispatch.dispatcher.take_left_over() == ["bus"]
    assert dispatch.dispatcher.take_left_over() == []


async def deliver(notifier: AlertNotifier, log: RecordingLog) -> None:
    """Deliver an alert once over each channel, and log the failures as the dispatcher does."""
    for channel in notifier.channels:
        try:
            async with asyncio.timeout(alerts.TIMEOUT_S):
                await notifier.deliver(channel, ALERT)
        except Exception as error:
            reason = str(error) or type(error).__name__
            log.warning("alert.delivery_failed", error=reason)


async def test_a_webhook_gets_the_alert_as_the_body_of_a_post() -> None:
    log = RecordingLog()
    async with webhook() as (url, received):
        await deliver(AlertNotifier(webhook=url), log)
    ((head, body),) = received
    assert head.startswith("post /alerts ") and "content-type: application/json" in head
    assert body == json.loads(wire.encode(ALERT))
    assert log.failures == []


@contextlib.asynccontextmanager
async def answering(reply: bytes) -> AsyncIterator[str]:
    """Provide the URL of a service that sends this to each request, and no end of it."""
    ended = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        await ended.wait()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/services/T024BE7LD/s3cret42"
        ended.set()


async def test_nothing_is_read_of_a_webhooks_reply_but_its_status(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A bomb of a kilobyte took 1.4 GB, and stopped the control plane for seconds."""
    monkeypatch.setattr("worker.fleet.control.alerts.TIMEOUT_S", 5.0)
    log = RecordingLog()
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip, gzip\r\ncontent-length: 1000000000\r\n\r\n"
    async with answering(head) as url:
        await deliver(AlertNotifier(webhook=url), log)
    assert log.failures == []


@pytest.mark.parametrize("status", ["404 Not Found", "302 Found"])
async def test_the_log_of_a_failed_webhook_has_no_part_of_its_url(status: str) -> None:
    log = RecordingLog()
    reply = f"HTTP/1.1 {status}\r\nlocation: /services/s3cret42\r\ncontent-length: 0\r\n\r\n"
    async with answering(reply.encode()) as url:
        await deliver(AlertNotifier(webhook=url), log)
    assert log.failures == [f"the webhook has responded with {status[:3]}"]


@pytest.mark.parametrize("url", ["http://u:s3cret42@h:x", "http://h:99999/s3cret42", "s3cret42"])
async def test_the_log_of_an_invalid_webhook_has_no_part_of_its_url(url: str) -> None:
    log = RecordingLog()
    await deliver(AlertNotifier(webhook=url), log)
    assert len(log.failures) == 1
    assert "s3cret42" not in log.failures[0]


async def test_a_command_gets_the_alert_on_its_stdin(tmp_path: Path) -> None:
    file = tmp_path / "alert.json"
    log = RecordingLog()
    code = f"import sys; open({str(file)!r}, 'wb').write(sys.stdin.buffer.read())"
    await deliver(AlertNotifier(command=python(code)), log)
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
            await deliver(notifier, log)
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
        await deliver(AlertNotifier(command=command, webhook=url), log)
    (failure,) = log.failures
    assert reason in failure
    assert len(received) == 1


async def test_a_webhook_that_fails_stops_no_command(tmp_path: Path) -> None:
    file = tmp_path / "ran"
    log = RecordingLog()
    code = f"import pathlib; pathlib.Path({str(file)!r}).touch()"
    async with webhook("500 Internal Server Error") as (url, _):
        await deliver(AlertNotifier(command=python(code), webhook=url), log)
    (failure,) = log.failures
    assert "500" in failure
    assert file.exists()
