"""Attacks by callers of webhooks: raw bytes to the port, as no HTTP client would send them."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.dashboard_fleet import DiscardingLog
from worker.fleet import http_connection
from worker.fleet.control.store.deployments import LiveTrigger
from worker.fleet.control.triggers import firing_queue, webhook_admission
from worker.fleet.control.triggers.firing import Firing
from worker.fleet.control.triggers.firing_queue import FiringQueue
from worker.fleet.control.triggers.order_result import Fired
from worker.fleet.control.triggers.signals import Signal
from worker.fleet.control.triggers.webhook_auth import ApiKeyAuth, AuthMethod, HmacAuth
from worker.fleet.control.triggers.webhook_options import WebhookOptions
from worker.fleet.control.triggers.webhook_service import WebhookService
from worker.fleet.messaging.broker import free_port
from worker.fleet.messaging.trigger_messages import WebhookTrigger

AUTH: dict[str, AuthMethod] = {"key": ApiKeyAuth(key="k" * 20), "hub": HmacAuth(secret="s" * 20)}


def trigger(path: str, **fields: Any) -> LiveTrigger:
    definition = WebhookTrigger(name=path, start="a", path=path, **fields)
    return LiveTrigger(id=path, project="default", workflow="w", live=True, definition=definition)


class FakePlane:
    """A control plane whose orders are recorded, and end when the test says so."""

    def __init__(self, *triggers: LiveTrigger) -> None:
        self._triggers = list(triggers)
        self.triggers_changed, self.order_ended = Signal(), Signal()
        self.orders: list[tuple[str, Any]] = []

    async def fire(self, items: Any) -> list[Fired]:
        self.orders += [(item.trigger.id, json.loads(item.input)) for item in items]
        return [Fired(order_id=f"o{number}") for number, _ in enumerate(items)]

    async def live_triggers(self, *kinds: str) -> list[LiveTrigger]:
        return self._triggers

    async def results_of(self, order_ids: Any) -> dict[str, Any]:
        return {}


@asynccontextmanager
async def served(*triggers: LiveTrigger) -> AsyncIterator[tuple[FakePlane, int]]:
    plane, port = FakePlane(*triggers), free_port()
    host: Any = plane
    log: Any = DiscardingLog()
    options = WebhookOptions(host="127.0.0.1", port=port, auth=AUTH)
    service = WebhookService(host, options, log)
    task = asyncio.create_task(service.run())
    try:
        yield plane, port
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def exchange(port: int, *parts: bytes, read: int = -1) -> bytes:
    """Send bytes, and return all that comes back until the server closes the connection."""
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
            return await reader.read(read) if read > 0 else await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()


def post(path: str, body: bytes = b"{}", *headers: str, host: str = "localhost") -> bytes:
    lines = [
        f"POST {path} HTTP/1.1", f"Host: {host}", "Content-Type: application/json",
        "Connection: close", *headers,
    ]  # fmt: skip
    if not any(line.lower().startswith(("content-length", "transfer-enc")) for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def status(response: bytes) -> int:
    return int(response.split(b" ", 2)[1]) if response else 0


@pytest.mark.parametrize("host", ["x/i/private?", "x/i/private#", "[", "a@b:c", "localhost/../"])
async def test_the_host_of_a_request_does_not_choose_its_webhook(host: str) -> None:
    """A proxy lets ``/i/public`` through; the header Host names another path."""
    async with served(trigger("public"), trigger("private")) as (plane, port):
        response = await exchange(port, post("/i/public?a=1", host=host))
        assert [name for name, _ in plane.orders] in ([], ["public"]), response
        assert status(response) in (200, 400, 403), response
        for _, input in plane.orders:
            assert input["request"]["path"] == ["i", "public"]
            assert input["request"]["query_params"] == {"a": "1"}


SMUGGLED = b"POST /i/private HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 2", "Content-Length: 40"),
        ("Content-Length: 2, 40",),
        ("Content-Length: +2",),
        ("Content-Length: -2",),
        ("Content-Length: 2\u00b2",),
        ("Content-Length: " + "9" * 5000,),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding : chunked",),
        ("X: y\r\n Transfer-Encoding: chunked", "Content-Length : 2"),
    ],
)
async def test_a_request_whose_end_is_ambiguous_makes_no_second_one(headers: Any) -> None:
    """Request smuggling: a proxy and the server disagree about where the body ends."""
    async with served(trigger("public"), trigger("private")) as (plane, port):
        request = post("/i/public", b"{}" + SMUGGLED, *headers)
        response = await exchange(port, request.replace(b"Connection: close\r\n", b""), read=1)
        assert "private" not in [name for name, _ in plane.orders], response


async def test_both_lengths_are_no_second_request() -> None:
    """Transfer-Encoding and Content-Length at once: the body ends with its last chunk."""
    async with served(trigger("public"), trigger("private")) as (plane, port):
        body = b"2\r\n{}\r\n0\r\n\r\n"
        headers = ("Content-Length: 4", "Transfer-Encoding: chunked")
        await exchange(port, post("/i/public", body, *headers))
        await exchange(port, post("/i/public", b"0\r\n\r\n" + SMUGGLED, *headers))
        assert "private" not in [name for name, _ in plane.orders]


async def test_headers_without_end_are_refused() -> None:
    async with served(trigger("public")) as (plane, port):
        flood = post("/i/public", b"{}", *(f"X-{number}: {'y' * 100}" for number in range(2000)))
        response = await exchange(port, flood)
        assert status(response) in (0, 400, 431) and plane.orders == []


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip"])
async def test_a_compressed_body_is_not_decompressed(encoding: str) -> None:
    """A bomb of decompression: the bytes are judged as they are."""
    async with served(trigger("public")) as (plane, port):
        bomb = b"\x1f\x8b\x08" + b"\0" * 40
        response = await exchange(port, post("/i/public", bomb, f"Content-Encoding: {encoding}"))
        assert status(response) == 400 and plane.orders == []


async def test_a_body_that_never_ends_is_cut_at_the_limit() -> None:
    async with served(trigger("public", max_mb=0.1)) as (plane, port):
        chunks = [b"8000\r\n" + b"x" * 0x8000 + b"\r\n"] * 10
        head = post("/i/public", b"", "Transfer-Encoding: chunked")
        response = await exchange(port, head, *chunks, read=12)
        assert status(response) in (0, 413) and plane.orders == []


async def test_callers_that_wait_do_not_keep_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs of one webhook take an hour; its callers hold all connections."""
    monkeypatch.setattr(webhook_admission, "MAX_CALLS", 3)
    slow = trigger("slow", reply="after_completion", timeout_s=3600)
    async with served(slow, trigger("quick")) as (plane, port):
        waiting = [asyncio.create_task(exchange(port, post("/i/slow"))) for _ in range(3)]
        async with asyncio.timeout(30):
            while len(plane.orders) < 3:
                await asyncio.sleep(0.01)
        refused = await exchange(port, post("/i/slow"))
        assert status(refused) == 503 and b"retry-after: 5" in refused.lower()
        assert b"send the call again" in refused
        assert status(await exchange(port, post("/i/quick"))) == 200
        for task in waiting:
            task.cancel()


async def fill_room(port: int, head: bytes, body: bytes) -> asyncio.StreamWriter:
    """Leave one body of 90,000 bytes unfinished, and send whole ones until there is no room."""
    _, first = await asyncio.open_connection("127.0.0.1", port)
    first.write(head + b" " * 80_000)
    await first.drain()
    async with asyncio.timeout(30):
        while status(await exchange(port, head + body)) != 503:
            pass
    return first


@pytest.mark.parametrize("auth", [(), ("hub",)], ids=["open", "signed"])
async def test_the_bodies_of_all_callers_are_bounded(
    auth: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand callers send ten megabytes each, and none finishes; a signature needs them all."""
    monkeypatch.setattr(webhook_admission, "MAX_BYTES", 150_000)
    async with served(trigger("in", auth=auth)) as (plane, port):
        head = post("/i/in", b"", "Content-Length: 90000")
        first = await fill_room(port, head, b" " * 89_998 + b"{}")
        first.close()
        async with asyncio.timeout(30):
            while status(await exchange(port, post("/i/in", b" " * 89_000 + b"{}"))) == 503:
                await asyncio.sleep(0.01)
        assert all(name == "in" for name, _ in plane.orders)


@pytest.mark.parametrize("auth", ["key", "hub"])
async def test_callers_without_a_key_take_no_places(
    auth: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many callers as a webhook may have send half a body each, and no proof."""
    monkeypatch.setattr(webhook_admission, "MAX_CALLS", 2)
    async with served(trigger("in", auth=(auth,))) as (plane, port):
        head = post("/i/in", b"", "Content-Length: 90", "x-api-key: wrong")
        slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
        for _, writer in slow:
            writer.write(head + b"{")
            await writer.drain()
        signature = hmac.new(b"s" * 20, b"{}", hashlib.sha256).hexdigest()
        proofs = ("x-api-key: " + "k" * 20, f"x-hub-signature-256: {signature}")
        assert status(await exchange(port, post("/i/in", b"{}", *proofs))) == 200
        assert len(plane.orders) == 1
        for _, writer in slow:
            writer.close()


async def test_bodies_without_a_proof_leave_room_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhook_admission, "MAX_UNPROVEN_BYTES", 100_000)
    async with served(trigger("signed", auth=("hub",)), trigger("in", auth=("key",))) as (_, port):
        head = post("/i/signed", b"", "Content-Length: 90000")
        first = await fill_room(port, head, b" " * 90_000)
        body = b" " * 120_000 + b"{}"
        called = post("/i/in", body, "x-api-key: " + "k" * 20)
        assert status(await exchange(port, called)) == 200
        first.close()


async def test_a_body_is_not_read_before_its_key_is_known() -> None:
    async with served(trigger("in", auth=("key",))) as (plane, port):
        head = post("/i/in", b"", "Content-Length: 9000000", "x-api-key: wrong")
        assert status(await exchange(port, head, read=12)) == 401 and plane.orders == []


async def test_connections_without_a_request_do_not_keep_others_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Slow loris: as many connections as the server has, with half a request each."""
    monkeypatch.setattr(http_connection, "MAX_CONNECTIONS", 20)
    async with served(trigger("in")) as (_, port):
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(30)]
        for _, writer in silent:
            writer.write(b"POST /i/in HT")
        assert status(await exchange(port, post("/i/in"))) == 200
        for _, writer in silent:
            writer.close()


@pytest.mark.parametrize("auth", ["", "hub"], ids=["open", "signed"])
async def test_bodies_that_never_end_do_not_keep_others_out(
    auth: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow bodies: more connections than the server has, and more calls than a webhook has."""
    monkeypatch.setattr(http_connection, "MAX_CONNECTIONS", 20)
    monkeypatch.setattr(webhook_admission, "MAX_CALLS", 3)
    async with served(trigger("in", auth=(auth,) if auth else ())) as (plane, port):
        slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(30)]
        for _, writer in slow:
            writer.write(post("/i/in", b"{", "Content-Length: 90"))
        proof = hmac.new(b"s" * 20, b"{}", hashlib.sha256).hexdigest()
        for _ in range(2):
            response = await exchange(port, post("/i/in", b"{}", f"x-hub-signature-256: {proof}"))
            assert status(response) == 200, response
        assert len(plane.orders) == 2
        for _, writer in slow:
            writer.close()


@pytest.mark.parametrize(
    ("origin", "code"),
    [("https://elsewhere.example", 403), ("null", 403), ("http://localhost:81", 403),
     ("http://localhost", 200)],
)  # fmt: skip
async def test_a_form_of_a_page_elsewhere_starts_nothing(origin: str, code: int) -> None:
    """A browser that does not send Sec-Fetch-Site posts the form of a page that somebody visits."""
    async with served(trigger("in")) as (plane, port):
        request = post("/i/in", b"a=1", f"Origin: {origin}")
        request = request.replace(b"application/json", b"application/x-www-form-urlencoded")
        assert status(await exchange(port, request)) == code
        assert len(plane.orders) == (code == 200)


async def test_a_page_of_the_same_site_may_call_through_a_proxy() -> None:
    """The browser vouches for it, whatever name the proxy calls this server by."""
    async with served(trigger("in")) as (plane, port):
        own = ("Origin: https://forms.example", "Sec-Fetch-Site: same-origin")
        assert status(await exchange(port, post("/i/in", b"{}", *own))) == 200
        assert len(plane.orders) == 1


async def test_large_calls_share_no_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firing_queue, "MAX_BATCH_BYTES", 2500)
    batches: list[list[int]] = []

    async def fire(items: list[Firing]) -> list[Fired]:
        batches.append([len(item.input) for item in items])
        return [Fired(order_id="o") for _ in items]

    queue = FiringQueue(fire)
    sizes = [1000, 1000, 1000, 9000, 100, 100]
    calls = [queue.fire(Firing(trigger=trigger("in"), input=b"x" * size)) for size in sizes]
    tasks = [asyncio.create_task(call) for call in calls]
    await asyncio.sleep(0)
    running = asyncio.create_task(queue.run())
    await asyncio.gather(*tasks)
    running.cancel()
    assert batches == [[1000, 1000], [1000], [9000], [100, 100]]
