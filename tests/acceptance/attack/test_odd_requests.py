"""Attacks by requests and answers that no honest program makes."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.services import Asked, call, get, serving
from worker.adaptors.collections.answers import MAX_KEY_CHARACTERS, answer
from worker.adaptors.collections.settings import LOCAL_URL
from worker.adaptors.collections.stores import CollectionStore, FolderStore, MemoryStore
from worker.adaptors.http import live_host
from worker.adaptors.http.allowlist import HostPattern, Reach
from worker.adaptors.http.content_coding import BodyDecoder
from worker.adaptors.http.exchange import HttpReply, HttpRequest
from worker.adaptors.http.live_host import LiveHost
from worker.lightning.sanitize import sanitize

ANY = Reach(everywhere=(HostPattern(host="*"), HostPattern(host="127.0.0.1")))
URL = "http://127.0.0.1:1/"
ODD_REQUESTS: list[dict[str, Any]] = [
    {"url": "http://["},
    {"url": "http://[::1"},
    {"url": "http://\ud800/"},
    {"url": "http://xn--/"},
    {"url": "http://127.0.0.1:\u0661/"},
    {"url": "http://" + "a" * 300 + "/"},
    {"url": "http://a\x00b/"},
    {"url": URL, "method": ""},
    {"url": URL, "method": "\u00e9"},
    {"url": URL, "method": "\ud800"},
    {"url": URL, "method": "GET / HTTP/1.1\r\nHost: other\r\n\r\nGET"},
    {"url": URL, "headers": [["x\r\ny", "z"]]},
    {"url": URL, "headers": [["x", "\ud800"]]},
    {"url": URL, "headers": [["content-length", "-1"]], "text": "x"},
    {"url": URL, "timeout": "nan"},
    {"url": URL, "redirects": 1e400},
    {"url": URL, "base64": "%"},
]


@pytest.mark.parametrize("fields", ODD_REQUESTS, ids=lambda fields: repr(fields)[:60])
async def test_an_odd_request_is_an_error_of_the_job(fields: dict[str, Any]) -> None:
    """Tries to alert the operator: an error that the host does not expect counts as our own."""
    host = LiveHost(ANY)
    text = json.dumps({"method": "GET", **fields})
    try:
        reply = await host.handle(replace(call(), text=text))
    finally:
        await host.close()
    assert json.loads(reply.text)["error"]["message"]


async def test_what_follows_a_compressed_body_is_not_kept() -> None:
    """Tries to fill the worker's memory, and its time, with bytes after the end of a body."""
    decoder, rest = BodyDecoder("gzip"), bytes(64 * 1024)
    pieces = [piece async for piece in decoder.decode(gzip.compress(b"body"))]
    tracemalloc.start()
    try:
        for _ in range(64):
            pieces += [piece async for piece in decoder.decode(rest)]
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert b"".join(pieces) == b"body" and peak_bytes < 1024 * 1024


async def test_an_answer_is_limited_as_it_comes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries to send without an end: empty blocks of deflate decompress to no bytes."""
    monkeypatch.setattr(live_host, "MAX_RESPONSE_BYTES", 1024 * 1024)

    def respond(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        return 200, {"content-encoding": "deflate"}, b"\x78\x9c" + b"\0\0\0\xff\xff" * 300_000

    host = LiveHost(ANY)
    with serving(respond) as service:
        reply = await get(host, service.url())
        await host.close()
    assert "over the limit of 1 MB" in reply.error["message"]


# --- collections ----------------------------------------------------------------------------------


def ask(store: CollectionStore, method: str, query: str = "", **fields: Any) -> HttpReply:
    request = HttpRequest(
        method=method,
        url=f"{LOCAL_URL}/people{query}",
        headers=(("Authorization", "Bearer x"),),
        body=json.dumps(fields).encode(),
    )
    return answer(store, request, LOCAL_URL, 0)


def keys_of(reply: HttpReply) -> list[str]:
    return [item["key"] for item in json.loads(reply.body)["items"]]


def test_a_pattern_of_many_stars_is_searched_once() -> None:
    """Tries to hold the worker up for years: with a pattern that fits a key in many ways."""
    store = MemoryStore({"people": {"a" * 200: 1}})
    assert keys_of(ask(store, "GET", f"?key={'*a' * 60}b")) == []
    assert len(keys_of(ask(store, "GET", f"?key={'*a' * 60}"))) == 1
    assert ask(store, "GET", f"?key={'*' * (MAX_KEY_CHARACTERS + 1)}").status == 400


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a", ["a"]),
        ("a*", ["a", "ab", "aba", "a.b"]),
        ("*a", ["a", "aba"]),
        ("a*a", ["aba"]),
        ("*b*", ["ab", "aba", "a.b"]),
        ("a_b", ["a.b"]),
        ("a_*a", ["aba"]),
        ("a**b", ["ab", "a.b"]),
        ("*", ["a", "ab", "aba", "a.b"]),
    ],
)
def test_patterns_select_keys(pattern: str, expected: list[str]) -> None:
    store = MemoryStore({"people": dict.fromkeys(["a", "ab", "aba", "a.b"], 1)})
    assert keys_of(ask(store, "GET", f"?key={pattern}")) == expected


@pytest.mark.parametrize(
    ("key", "value", "status"),
    [
        ("\ud800", '"\\ud800"', 200),
        ("k", "[" * 150 + "]" * 150, 200),
        ("k", "[" * 300 + "]" * 300, 400),
        ("k", "NaN", 400),
        ("k", "9" * 5000, 400),
        ("k" * 300, "1", 422),
    ],
)
def test_no_value_makes_a_collection_unreadable(
    key: str, value: str, status: int, tmp_path: Path
) -> None:
    """Tries to spoil a collection for all later runs: with a value that its file cannot hold."""
    (tmp_path / "people.json").write_text('{"ada": 1}')
    store = FolderStore(tmp_path)
    assert ask(store, "POST", items=[{"key": key, "value": value}]).status == status
    assert ask(store, "POST", items=[{"key": "bob", "value": "2"}]).status == 200
    assert {"ada", "bob"} <= set(keys_of(ask(FolderStore(tmp_path), "GET")))
    (tmp_path / "people.json").read_text("utf-8")
    assert [file.name for file in tmp_path.iterdir() if file.suffix != ".json"] == [".times"]


def test_a_body_that_is_nested_too_deeply_is_refused() -> None:
    """Tries to alert the operator, with JSON that exhausts the stack of its reader."""
    request = HttpRequest(
        method="POST",
        url=f"{LOCAL_URL}/people",
        headers=(("Authorization", "x"),),
        body=b'{"items":' + b"[" * 200_000,
    )
    assert answer(MemoryStore({"people": {}}), request, LOCAL_URL, 0).status == 400


# --- lines of the log -----------------------------------------------------------------------------


@pytest.mark.parametrize("quote", ['"', "'", "`"])
def test_a_line_of_unclosed_texts_is_searched_once(quote: str) -> None:
    """Tries to hold up a worker of Lightning for hours, with one line of its job's log."""
    assert sanitize("a {" + f"{quote}\\" * 500_000, "remove") == "a "
