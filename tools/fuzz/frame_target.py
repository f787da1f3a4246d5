"""Target: the frames that the process of a run sends to its parent."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Sequence
from typing import Any

from tests.support.child_frames import ChildFrames, FakeZygote
from tests.support.helpers import job, workflow
from tools.fuzz.changes import Parts
from tools.fuzz.fuzzer import Fault
from tools.fuzz.inputs import Pairs, from_data, to_json
from worker.core.events import AnyEvent, RunComplete, StepComplete, decode_event
from worker.core.events import to_json as event_json
from worker.core.status import STATUS_OF_REASON
from worker.runner.prepare import Options, prepare
from worker.sandbox.limits import Limits
from worker.sandbox.parent.run_process import RequestUnreadError, RunProcess
from worker.sandbox.parent.zygote_client import ProcessExit

FLOW = workflow(job("fn(s => s);", "a", next="b"), job("fn(s => s);", "b"))
LIMITS = Limits(memory_mb=60, payload_mb=1.0, log_payload_mb=0.5, log_lines=30)
REQUEST = prepare(FLOW, {}, Options(limits=LIMITS), "00000000-0000-4000-8000-000000000001")
MAX_LENGTH = 2**32 - 1


class Frames:
    """A run whose process is hostile. Whatever it sends, the run ends once, as one that is read."""

    name = "frames"
    large = False

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def close(self) -> None:
        self._loop.close()

    def seeds(self) -> Sequence[Parts]:
        frames = ChildFrames(REQUEST)
        right = [
            {"header": header, "body": body and {"data": {"a": [1]}}, "longer": [0, 0]}
            for header, body in frames.whole()
        ]
        error = {"type": "JobError", "message": "m", "details": {"a": 1}, "stack": ["x"]}
        failed = [dict(frame) for frame in right]
        for frame in failed[-2:]:
            frame["header"] = {**frame["header"], "reason": "fail", "error": error}  # type: ignore[dict-item]
        return [tuple(map(from_data, right)), tuple(map(from_data, failed))]

    def encode(self, parts: Parts) -> bytes:
        return b"".join(map(_frame, parts))

    def execute(self, data: bytes) -> None:
        events = self._loop.run_until_complete(_run(data))
        ends = [event for event in events if isinstance(event, RunComplete)]
        if events and (len(ends) != 1 or ends != events[-1:]):
            raise Fault(f"{len(ends)} ends of one run")
        for event in events:
            _check(event)


def _frame(part: Any) -> bytes:
    if not isinstance(part, Pairs):
        return to_json(part).encode("utf-8", "surrogatepass")
    head = to_json(part.get("header")).encode("utf-8", "surrogatepass")
    content = part.get("body")
    body = b"" if content is None else to_json(content).encode("utf-8", "surrogatepass")
    longer = part.get("longer")
    more = longer if isinstance(longer, list) and len(longer) == 2 else [longer, 0]
    lengths = [_length(len(head), more[0]), _length(len(body), more[1])]
    return struct.pack("<II", *lengths) + head + body


def _length(length: int, more: Any) -> int:
    return max(0, min(MAX_LENGTH, length + more)) if isinstance(more, int) else MAX_LENGTH


async def _run(data: bytes) -> list[AnyEvent]:
    zygote, events = FakeZygote(), list[AnyEvent]()
    run = asyncio.create_task(RunProcess(zygote, REQUEST, events.append, None).run(None))
    sender = asyncio.create_task(_send(zygote, data))
    try:
        await run
    except RequestUnreadError:
        # The pool starts the run again, which is right as long as nothing was received.
        if events:
            raise Fault("a run that has begun would be started again") from None
    finally:
        sender.cancel()
        zygote.end(ProcessExit(code=1, peak_bytes=5))
        await asyncio.gather(sender, return_exceptions=True)
    return events


async def _send(zygote: FakeZygote, data: bytes) -> None:
    channel, loop = zygote.channel, asyncio.get_running_loop()
    channel.setblocking(False)
    with contextlib.suppress(OSError, ValueError):
        await loop.sock_recv(channel, 1 << 20)
        await loop.sock_sendall(channel, data)
    zygote.end(ProcessExit(code=1, peak_bytes=5))


def _check(event: AnyEvent) -> None:
    """Raise :class:`Fault` for an event that a reader of the journal or the fleet would refuse."""
    text = event_json(event)
    try:
        again = decode_event(text)
    except (ValueError, RecursionError) as error:
        raise Fault(f"an event that cannot be read: {type(error).__name__}") from error
    if again.type != event.type or again.seq != event.seq:
        raise Fault("an event that is read is another one")
    if isinstance(event, RunComplete | StepComplete) and event.reason not in STATUS_OF_REASON:
        raise Fault("an event whose reason has no status")
    dataclip = getattr(event, "final_state", None) or getattr(event, "output_dataclip", None)
    if dataclip is not None:
        try:
            dataclip.value  # noqa: B018 - it is parsed when it is read
        except (ValueError, RecursionError) as error:
            raise Fault(f"a dataclip that cannot be read: {type(error).__name__}") from error
