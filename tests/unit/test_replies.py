"""Replies of services: what of them reaches a job, within which limits, and as which errors."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.services import Answer, Asked, Service, call, get, serving
from worker.adaptors.http import live_host
from worker.adaptors.http.allowlist import Reach, parse_host_pattern
from worker.adaptors.http.exchange import HttpRequest
from worker.adaptors.http.live_host import LiveHost
from worker.sandbox.parent.host import HostCall, RunTraffic, TrafficExceeded
from worker.version import VERSION


@asynccontextmanager
async def host_and_service(answer: Answer) -> AsyncIterator[tuple[LiveHost, Service]]:
    with serving(answer) as service:
        host = LiveHost(Reach(everywhere=(parse_host_pattern("127.0.0.1"),)))
        try:
            yield host, service
        finally:
            await host.close()


def answering(body: bytes = b"", status: int = 200, **headers: str) -> Answer:
    return lambda asked: (
        status,
        {name.replace("_", "-"): value for name, value in headers.items()},
        body,
    )


async def test_a_reply_has_the_headers_that_are_true_of_its_body() -> None:
    body = b"x" * 1000
    async with host_and_service(
        answering(gzip.compress(body), content_encoding="gzip", x_a="1")
    ) as (host, service):
        reply = await get(host, service.url("/a"))
    headers = dict(reply.headers)
    assert (reply.status, reply.reason, reply.body) == (200, "OK", body)
    assert reply.url == service.url("/a")
    assert headers["content-length"] == "1000" and headers["x-a"] == "1"
    assert "content-encoding" not in headers and "transfer-encoding" not in headers


async def test_a_coding_that_is_not_decoded_stays_in_the_headers() -> None:
    async with host_and_service(answering(b"abc", content_encoding="x-own")) as (host, service):
        reply = await get(host, service.url())
    assert (reply.body, dict(reply.headers)["content-encoding"]) == (b"abc", "x-own")


async def test_a_body_that_is_not_what_its_coding_says_is_an_error() -> None:
    async with host_and_service(answering(b"abc", content_encoding="gzip")) as (host, service):
        reply = await get(host, service.url())
    assert (reply.error["name"], reply.error["code"]) == ("Error", "Z_DATA_ERROR")


@pytest.mark.parametrize(("size", "is_refused"), [(1 << 20, False), ((1 << 20) + 1, True)])
@pytest.mark.parametrize("compress", [bytes, zlib.compress])
async def test_a_body_may_be_as_large_as_the_limit(
    size: int, is_refused: bool, compress: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (live_host.MAX_RESPONSE_BYTES, live_host.CONNECT_TIMEOUT_S) == (50 << 20, 30)
    monkeypatch.setattr(live_host, "MAX_RESPONSE_BYTES", 1 << 20)
    coding = "deflate" if compress is zlib.compress else "identity"
    answer = answering(compress(b"x" * size), content_encoding=coding)
    async with host_and_service(answer) as (host, service):
        reply = await get(host, service.url())
    message = "the response is over the limit of 1 MB"
    assert reply.error == (
        {"name": "Error", "message": message, "code": "ERR_REFUSED"} if is_refused else {}
    )


async def test_a_coding_for_no_bytes_at_all_has_the_limit_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live_host, "MAX_RESPONSE_BYTES", 100_000)
    body = gzip.compress(b"") * 6000
    async with host_and_service(answering(body, content_encoding="gzip")) as (host, service):
        reply = await get(host, service.url())
    assert reply.error["code"] == "ERR_REFUSED"


@pytest.mark.parametrize(("budget", "is_enough"), [(2000, True), (1999, False)])
async def test_a_body_counts_twice_while_it_is_converted(budget: int, is_enough: bool) -> None:
    async with host_and_service(answering(b"x" * 1000)) as (host, service):
        request = get(host, service.url(), call(run=RunTraffic(budget)))
        if is_enough:
            assert len((await request).body) == 1000
        else:
            with pytest.raises(TrafficExceeded):
                await request


@pytest.mark.parametrize(
    ("redirects", "status", "requests"), [(0, 302, 1), (1, 302, 2), (2, 200, 3)]
)
async def test_so_many_redirects_are_followed_as_the_request_says(
    redirects: int, status: int, requests: int
) -> None:
    def answer(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        hop = int(asked.path[1:])
        return (302, {"location": f"/{hop + 1}"}, b"") if hop < 2 else (200, {}, b"")

    async with host_and_service(answer) as (host, service):
        reply = await get(host, service.url("/0"), redirects=redirects)
        assert (reply.status, len(service.asked)) == (status, requests)
        assert reply.url == service.url(f"/{redirects}")


async def test_a_request_says_who_sends_it_and_has_no_body_unless_it_names_one() -> None:
    async with host_and_service(answering()) as (host, service):
        await get(host, service.url(), None, ("x-a", "1"), ("x-a", "2"))
        await host.send(HttpRequest(method="POST", url=service.url(), body=b"abc"), call())
    first, second = (asked.headers for asked in service.asked)
    assert first["user-agent"] == f"workflow-worker/{VERSION}"
    assert "content-length" not in first and second["content-length"] == "3"


async def test_the_reply_to_a_call_has_the_time_of_the_call() -> None:
    async with host_and_service(answering(b"abc", status=404)) as (host, service):
        for text, status in (
            ("[]", None),
            (json.dumps({"method": "GET", "url": service.url()}), 404),
        ):
            reply = await host.handle(
                HostCall(number=1, kind="http", text=text, step="a", execution=0, now_us=7)
            )
            assert reply.at_us == 7
            fields = json.loads(reply.text)
            if status is None:
                assert fields["error"]["name"] == "TypeError"
            else:
                assert fields["status"] == status


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://[", "ERR_REFUSED"),
        ("nonsense", "ERR_REFUSED"),
        ("http://127.0.0.1:0/", "ECONNREFUSED"),
        ("http://127.0.0.1:65536/", "ERR_INVALID_URL"),
        ("http://127.0.0.1:99999/", "ERR_INVALID_URL"),
        ("http://x.test/", "ERR_REFUSED"),
    ],
)
async def test_an_address_that_is_none_or_not_allowed_is_an_error(url: str, code: str) -> None:
    async with host_and_service(answering()) as (host, _):
        reply = await get(host, url)
    assert (reply.error["name"], reply.error["code"]) == ("Error", code)
    assert reply.error["message"]
