"""Calls of a run's adaptors: the bytes that they share, their errors, and where they convert."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest

from worker.sandbox.parent.host import (
    CallTraffic,
    HostCall,
    NoHost,
    RunTraffic,
    TrafficExceeded,
    error_reply,
    off_loop,
)

CALL = HostCall(number=1, kind="http", text="{}", step="a", execution=0, now_us=7)


def test_the_bytes_of_a_run_are_taken_up_to_the_limit_and_returned() -> None:
    traffic = RunTraffic(100)
    assert traffic.take(100) is True
    assert traffic.take(1) is False
    assert traffic.take(-1) is True
    assert traffic.take(-100) is True
    assert traffic.take(101) is False


def test_a_run_without_a_limit_takes_any_number_of_bytes() -> None:
    assert RunTraffic().take(1 << 80) is True


def test_a_call_returns_all_that_it_held_when_it_ends() -> None:
    run = RunTraffic(100)
    first, second = CallTraffic(run), CallTraffic(run)
    first.hold(30)
    first.hold(30)
    second.hold(40)
    with pytest.raises(TrafficExceeded):
        second.hold(1)
    first.release()
    first.release()
    second.hold(59)
    second.release()
    assert run.take(100) is True and run.take(1) is False


async def test_the_calls_of_a_run_have_twenty_slots() -> None:
    slots = RunTraffic().slots
    for _ in range(20):
        assert not slots.locked()
        await slots.acquire()
    assert slots.locked()


def test_calls_share_no_bytes_unless_they_are_of_one_run() -> None:
    other = HostCall(number=2, kind="http", text="{}", step="a", execution=0, now_us=7)
    assert CALL.traffic.run is not other.traffic.run
    assert CALL.credential == "" and "traffic" not in repr(CALL)


def test_a_call_shows_no_credential() -> None:
    assert "t0k3n" not in repr(replace(CALL, credential='{"password":"t0k3n"}'))


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("", {"name": "TypeError", "message": "no"}),
        ("EACCES", {"name": "TypeError", "message": "no", "code": "EACCES"}),
    ],
)
def test_an_error_is_the_reply_at_the_time_of_the_call(code: str, error: dict[str, str]) -> None:
    reply = error_reply(CALL, "TypeError", "no", code)
    assert json.loads(reply.text) == {"error": error}
    assert reply.at_us == 7


async def test_a_run_without_a_host_has_its_calls_rejected() -> None:
    reply = await NoHost().handle(CALL)
    assert json.loads(reply.text) == {
        "error": {"name": "Error", "message": "this run has no host for calls (http)"}
    }


@pytest.mark.parametrize(("size_bytes", "is_here"), [(64 * 1024, True), (64 * 1024 + 1, False)])
async def test_large_texts_are_converted_in_a_thread(size_bytes: int, is_here: bool) -> None:
    def convert(text: str, end: str) -> tuple[str, int]:
        return text + end, threading.get_ident()

    text, thread = await off_loop(convert, "a", "b", size_bytes=size_bytes)
    assert text == "ab"
    assert (thread == threading.get_ident()) is is_here
