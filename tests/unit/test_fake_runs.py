"""A run as its parent sees it: the test writes what its process sends, and ends the process."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from typing import Any

import pytest
from msgspec.structs import replace

from tests.support.fake_run import FakeRun, SilentHost
from worker.core.events import AnyEvent, RunComplete
from worker.runner.prepare import Options
from worker.sandbox.limits import Limits
from worker.sandbox.parent import run_process
from worker.sandbox.parent.host import HostCall, HostReply
from worker.sandbox.parent.run_process import RequestUnreadError
from worker.sandbox.parent.zygote_client import ProcessExit
from worker.sandbox.protocol import FrameDecoder, decode_object, encode_frame


class EchoHost(SilentHost):
    """A host whose reply is what was asked."""

    async def handle(self, call: HostCall) -> HostReply:
        self.calls.append(call)
        return HostReply(text=call.text, at_us=call.now_us + call.number)


async def read_request(run: FakeRun) -> None:
    """Read the request, as a process does."""
    run.zygote.channel.setblocking(False)
    loop = asyncio.get_running_loop()
    size = 8
    head = b""
    while len(head) < size:
        head += await loop.sock_recv(run.zygote.channel, size - len(head))
    left = int.from_bytes(head, "little")
    while left:
        left -= len(await loop.sock_recv(run.zygote.channel, min(left, 1 << 16)))


async def finished(run: FakeRun) -> RunComplete:
    await asyncio.wait_for(run.task, 10)
    return run.complete()


def whole(run: FakeRun) -> bytes:
    frames = run.frames.whole()
    return b"".join(
        encode_frame(head, body) for head, body in frames if head["type"] != "host:call"
    )


# --- the end --------------------------------------------------------------------------------------


async def test_a_run_that_is_complete_leaves_its_process_to_exit_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_process, "EXIT_TIMEOUT_S", 0.05)
    first, second = FakeRun(), FakeRun()
    for run in (first, second):
        run.zygote.channel.sendall(whole(run))
        assert (await finished(run)).reason == "success"
        assert not run.zygote.exited.done() and run.zygote.killed == []
        if run is first:
            run.zygote.exited.set_result(ProcessExit(code=0, peak_bytes=0))
    await second.until(lambda: second.zygote.killed)
    assert (first.zygote.killed, second.zygote.killed) == ([], ["0"])
    first.zygote.channel.close()


@pytest.mark.parametrize(
    ("code", "type"),
    [(1, "ProcessError"), (-signal.SIGSYS, "SecurityError"), (77, "OomError")],
)
async def test_a_process_that_exits_completes_its_run_with_the_cause_and_the_peak(
    code: int, type: str
) -> None:
    run = FakeRun()
    await read_request(run)
    run.zygote.send(run.frames.run_start(), run.frames.step_start())
    await run.until(lambda: len(run.events) == 2)
    run.zygote.end(ProcessExit(code=code, peak_bytes=12_345))
    complete = await finished(run)
    assert complete.error is not None and complete.error.type == type
    assert complete.mem == 12_345
    assert [event.type for event in run.events[-2:]] == ["step:complete", "run:complete"]


async def test_a_process_that_reads_no_request_has_its_run_given_back() -> None:
    run = FakeRun(input={"data": "x" * 4_000_000})
    await asyncio.sleep(0)
    run.zygote.end(ProcessExit(code=1, peak_bytes=0))
    with pytest.raises(RequestUnreadError):
        await asyncio.wait_for(run.task, 10)
    assert run.events == []


async def test_a_run_that_does_not_start_in_time_ends_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_process, "BOOT_TIMEOUT_S", 0.05)
    run = FakeRun()
    await read_request(run)
    complete = await finished(run)
    assert complete.error is not None and complete.error.type == "BootError"
    assert run.zygote.killed


async def test_the_time_of_a_run_counts_from_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_process, "BOOT_TIMEOUT_S", 60.0)
    run = FakeRun(options=Options(limits=Limits(timeout_s=0.05)))
    await read_request(run)
    assert not run.task.done() and run.zygote.killed == []
    run.zygote.send(run.frames.run_start())
    complete = await finished(run)
    assert complete.error is not None and complete.error.type == "TimeoutError"


async def test_a_run_is_cancelled_while_it_runs() -> None:
    cancel = asyncio.Event()
    run = FakeRun(cancel=cancel)
    await read_request(run)
    run.zygote.send(run.frames.run_start())
    await run.until(lambda: run.events)
    cancel.set()
    complete = await finished(run)
    assert complete.error is not None
    assert (complete.error.type, complete.error.reason) == ("CancelledError", "cancel")


async def test_an_event_that_cancels_no_run_kills_none_when_the_run_is_over() -> None:
    cancel = asyncio.Event()
    run = FakeRun(cancel=cancel)
    run.zygote.channel.sendall(whole(run))
    await finished(run)
    cancel.set()
    run.zygote.exited.set_result(ProcessExit(code=0, peak_bytes=0))
    # Timers come in the order of their times: the run would watch the event before.
    watched = asyncio.Event()
    asyncio.get_running_loop().call_later(run_process.WATCH_DELAY_S, watched.set)
    await watched.wait()
    await asyncio.sleep(0)
    assert run.zygote.killed == []
    run.zygote.channel.close()


async def test_a_run_that_is_cancelled_before_its_request_is_read_is_not_run_again() -> None:
    cancel = asyncio.Event()
    run = FakeRun(input={"data": "x" * 4_000_000}, cancel=cancel)
    cancel.set()
    complete = await finished(run)
    assert complete.error is not None and complete.error.type == "CancelledError"


async def test_an_error_of_whoever_receives_one_event_is_raised() -> None:
    events: list[AnyEvent] = []

    def receive(event: AnyEvent) -> None:
        events.append(event)
        if len(events) == 1:
            raise LookupError("no room")

    run = FakeRun(receive=receive)
    run.zygote.send(run.frames.run_start())
    with pytest.raises(LookupError, match="no room"):
        await asyncio.wait_for(run.task, 10)
    assert run.zygote.killed


# --- the channel ----------------------------------------------------------------------------------


class FailingChannel(socket.socket):
    """A channel that fails once, when ``fails`` is called."""

    fails = ""
    error: type[Exception] = BlockingIOError

    @classmethod
    def of(cls, run: FakeRun, fails: str, error: type[Exception]) -> None:
        """Give a run this channel."""
        channel = cls(fileno=run.zygote.forked.channel.detach())
        channel.fails, channel.error = fails, error
        run.zygote.forked = replace(run.zygote.forked, channel=channel)

    def recv(self, *arguments: Any) -> bytes:
        self._use("recv")
        return super().recv(*arguments)

    def send(self, *arguments: Any) -> int:
        self._use("send")
        return super().send(*arguments)

    def _use(self, name: str) -> None:
        if name == self.fails:
            self.fails = ""
            raise self.error


@pytest.mark.parametrize("name", ["recv", "send"])
async def test_a_channel_that_is_not_ready_is_waited_for(name: str) -> None:
    run = FakeRun()
    FailingChannel.of(run, name, BlockingIOError)
    await read_request(run)
    run.zygote.send(run.frames.run_start())
    await run.until(lambda: run.events)
    run.zygote.end(ProcessExit(code=1, peak_bytes=0))
    complete = await finished(run)
    assert complete.error is not None and complete.error.type == "ProcessError"


@pytest.mark.parametrize(
    ("name", "error"),
    [("send", BrokenPipeError), ("send", ConnectionResetError), ("recv", ConnectionResetError)],
)
async def test_a_channel_that_breaks_before_the_first_event_has_the_run_given_back(
    name: str, error: type[Exception]
) -> None:
    run = FakeRun()
    FailingChannel.of(run, name, error)
    if name == "recv":
        await read_request(run)
    run.zygote.end(ProcessExit(code=1, peak_bytes=0))
    with pytest.raises(RequestUnreadError):
        await asyncio.wait_for(run.task, 10)


async def test_a_run_that_is_cancelled_watches_its_channel_no_more() -> None:
    run = FakeRun()
    await read_request(run)
    descriptor = run.zygote.forked.channel.fileno()
    run.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run.task
    # Another run may get a channel with the same number.
    assert asyncio.get_running_loop().remove_reader(descriptor) is False


# --- limits ---------------------------------------------------------------------------------------


async def test_events_over_their_limit_kill_the_run_whatever_follows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_process, "READ_BYTES", 1024)
    run = FakeRun(options=Options(limits=Limits(events_mb=0.01)))
    await read_request(run)
    run.zygote.send(run.frames.run_start(), run.frames.step_start())
    run.zygote.send(
        *(run.frames.log("x" * 1000) for _ in range(12)),
        run.frames.step_complete(), run.frames.run_complete(),
    )  # fmt: skip
    complete = await finished(run)
    assert complete.error is not None
    assert (complete.error.type, complete.error.reason) == ("StepLimitError", "kill")


async def test_the_texts_of_calls_are_no_events() -> None:
    run = FakeRun(EchoHost(), options=Options(limits=Limits(events_mb=0.01)))
    await read_request(run)
    run.zygote.send(run.frames.run_start(), run.frames.step_start())
    for number in range(1, 21):
        frame = encode_frame(run.frames.call(number), json.dumps({"url": "é" * 1000}))
        run.zygote.channel.setblocking(False)
        await asyncio.get_running_loop().sock_sendall(run.zygote.channel, frame)
    await run.until(lambda: len(run.host.calls) == 20)
    assert run.zygote.killed == []
    run.zygote.end(ProcessExit(code=0, peak_bytes=0))
    await finished(run)


async def test_calls_in_flight_over_the_memory_kill_the_run() -> None:
    run = FakeRun(options=Options(limits=Limits(memory_mb=32)))
    await read_request(run)
    run.zygote.send(run.frames.run_start(), run.frames.step_start())
    loop = asyncio.get_running_loop()
    text = json.dumps({"url": "x" * (6 << 20)})
    await loop.sock_sendall(run.zygote.channel, encode_frame(run.frames.call(1), text))
    await run.until(lambda: run.host.calls)
    assert run.zygote.killed == []
    await loop.sock_sendall(run.zygote.channel, encode_frame(run.frames.call(2), text))
    complete = await finished(run)
    assert complete.error is not None
    assert (complete.error.type, complete.error.reason) == ("OomError", "kill")


async def test_a_call_over_the_memory_is_refused_before_it_is_read() -> None:
    run = FakeRun(options=Options(limits=Limits(memory_mb=32)))
    await read_request(run)
    run.zygote.send(run.frames.run_start(), run.frames.step_start())
    frame = encode_frame(run.frames.call(), "x" * (11 << 20))
    run.zygote.channel.sendall(frame[:500])
    complete = await finished(run)
    assert complete.error is not None and complete.error.type == "OomError"


async def test_calls_that_were_answered_count_no_more() -> None:
    run = FakeRun(EchoHost())
    await read_request(run)
    run.zygote.send(run.frames.run_start(), run.frames.step_start())
    for batch in range(3):
        numbers = range(batch * 400 + 1, batch * 400 + 401)
        run.zygote.send(*(run.frames.call(number) for number in numbers))
        await run.until(lambda end=numbers[-1]: len(run.host.calls) == end)
    assert run.zygote.killed == []
    run.zygote.end(ProcessExit(code=0, peak_bytes=0))
    await finished(run)


async def test_a_frame_that_only_runners_send_ends_the_run() -> None:
    run = FakeRun()
    await read_request(run)
    run.zygote.send(run.frames.run_start(), {"type": "runner:idle"})
    complete = await finished(run)
    assert complete.error is not None
    assert (complete.error.type, complete.error.reason) == ("ProtocolError", "exception")


async def test_what_comes_after_the_end_kills_the_process_and_changes_no_status() -> None:
    run = FakeRun()
    run.zygote.channel.sendall(whole(run) + b"\xff" * 64)
    assert (await finished(run)).reason == "success"
    assert run.zygote.killed


# --- calls ----------------------------------------------------------------------------------------


async def test_calls_have_the_credential_of_their_step_and_replies_their_number() -> None:
    run = FakeRun(EchoHost())
    run.request.configurations["a"] = '{"token":"x"}'
    await read_request(run)
    run.zygote.send(run.frames.run_start(), run.frames.step_start())
    decoder, replies = FrameDecoder(decode_object), list[Any]()
    for number in (1, 5):
        run.zygote.channel.setblocking(False)
        head = {**run.frames.call(number), "now_us": 100}
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(run.zygote.channel, encode_frame(head, f'{{"url":"{number}"}}'))
        while not (frames := list(decoder.feed(await loop.sock_recv(run.zygote.channel, 4096)))):
            pass
        replies += frames
    assert replies == [
        ({"number": 1, "at_us": 101}, '{"url":"1"}'), ({"number": 5, "at_us": 105}, '{"url":"5"}')
    ]  # fmt: skip
    call = run.host.calls[0]
    assert (call.credential, call.step, call.execution, call.kind) == (
        '{"token":"x"}', "a", 0, "http"
    )  # fmt: skip
    run.zygote.end(ProcessExit(code=0, peak_bytes=0))
    await finished(run)


async def test_a_call_that_waits_when_the_run_ends_is_cancelled() -> None:
    cancelled = asyncio.Event()

    class WaitingHost(SilentHost):
        async def handle(self, call: HostCall) -> HostReply:
            self.calls.append(call)
            try:
                return await asyncio.Future()
            finally:
                cancelled.set()

    run = FakeRun(WaitingHost())
    await read_request(run)
    run.zygote.send(run.frames.run_start(), run.frames.step_start(), run.frames.call())
    await run.until(lambda: run.host.calls)
    run.zygote.end(ProcessExit(code=1, peak_bytes=0))
    await finished(run)
    await asyncio.wait_for(cancelled.wait(), 10)
