"""Checks of what a run's process sends: a right run passes, and nothing else does."""

from __future__ import annotations

import itertools
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.child_frames import ChildFrames
from tests.support.helpers import job, workflow
from worker.core.event_stream import EventStream
from worker.core.events import RunComplete
from worker.core.outcome import StepError
from worker.runner.prepare import Options, prepare
from worker.sandbox.dataclip import generate_ids
from worker.sandbox.limits import MIB, Limits
from worker.sandbox.parent.frames import LEVELS, OVERHEAD_BYTES, RunFrames, decode_frame
from worker.sandbox.parent.host import TrafficExceeded
from worker.sandbox.protocol import ProtocolError, RunRequest, encode_frame

FLOW = workflow(job("fn(s => s);", "a", next="b"), job("fn(s => s);", "b"))
LIMITS = Limits(memory_mb=60, payload_mb=1.0, log_payload_mb=0.5, log_lines=3)
ERROR = {"type": "JobError", "message": "m"}


def request(limits: Limits = LIMITS) -> RunRequest:
    return prepare(FLOW, {}, Options(limits=limits), "00000000-0000-4000-8000-000000000001")


REQUEST = request()
Frames = list[tuple[dict[str, Any], str | None]]


def whole() -> Frames:
    return ChildFrames(REQUEST).whole()


def framed(head: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<II", len(head), len(body)) + head + body


def accepted(data: bytes) -> list[Any]:
    """Return the frames that are accepted, which is all or nothing but a ProtocolError."""
    return [frame for frame, _ in RunFrames(REQUEST).feed(data)]


def encoded(frames: Frames) -> bytes:
    return b"".join(encode_frame(header, body) for header, body in frames)


def test_a_right_run_is_accepted_in_any_pieces() -> None:
    data = encoded(whole())
    for size in (1, 7, len(data)):
        frames = RunFrames(REQUEST)
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        types = [frame.__struct_config__.tag for piece in pieces for frame, _ in frames.feed(piece)]
        assert types == [header["type"] for header, _ in whole()]
        assert frames.stream.completed


def test_frames_come_with_their_bodies() -> None:
    received = list(RunFrames(REQUEST).feed(encoded(whole())))
    assert [body for _, body in received] == [body or "" for _, body in whole()]


# --- a field that is wrong ------------------------------------------------------------------------

START, STEP, LOG, CALL, DONE, END = range(6)
ID = "00000000-0000-4000-8000-000000000009"

WRONG = [
    (START, {"workflow": "other"}),
    (START, {"versions": {}}),
    (START, {"seq": 1}),
    (START, {"run_id": ID}),
    (START, {"extra": 1}),
    (START, {"type": "run:begin"}),
    (START, {"timestamp": "now"}),
    (STEP, {"job_id": "c"}),
    (STEP, {"job_name": "another"}),
    (STEP, {"execution": 1}),
    (STEP, {"step_id": ID}),
    (STEP, {"step_id": "x" * 36}),
    (STEP, {"input_dataclip_id": ID}),
    (STEP, {"seq": 2}),
    (STEP, {"seq": 0}),
    (LOG, {"step_id": ID}),
    (LOG, {"job_id": "b"}),
    (LOG, {"source": "ME"}),
    (LOG, {"level": "loud"}),
    (LOG, {"message": ["a"]}),
    (LOG, {"message": "x" * (MIB // 2 + 201)}),
    (CALL, {"step": "b"}),
    (CALL, {"step": ["a"]}),
    (CALL, {"execution": 1}),
    (CALL, {"number": 0}),
    (CALL, {"number": "1"}),
    (CALL, {"kind": "h" * 101}),
    (CALL, {"now_us": 2**70}),
    (DONE, {"step_id": ID}),
    (DONE, {"job_id": "b"}),
    (DONE, {"next": ["a"]}),
    (DONE, {"next": "b"}),
    (DONE, {"next": ["b", "b"]}),
    (DONE, {"reason": "banana"}),
    (DONE, {"reason": "lost"}),
    (DONE, {"reason": "fail"}),
    (DONE, {"error": ERROR}),
    (DONE, {"error": "JobError", "reason": "fail"}),
    (DONE, {"output_dataclip": {"data": 1}}),
    (DONE, {"output_dataclip_id": ID}),
    (DONE, {"duration": -1}),
    (DONE, {"mem": 1.5}),
    (END, {"reason": "banana"}),
    (END, {"reason": "cancel"}),
    (END, {"reason": "crash", "error": ERROR}),
    (END, {"final_state": "x"}),
    (END, {"final_dataclip_id": ID}),
    (END, {"seq": 9}),
]


@pytest.mark.parametrize(("index", "fields"), WRONG, ids=lambda value: str(value)[:40])
def test_a_wrong_field_is_a_protocol_error(index: int, fields: dict[str, Any]) -> None:
    frames = whole()
    frames[index] = {**frames[index][0], **fields}, frames[index][1]
    with pytest.raises(ProtocolError):
        accepted(encoded(frames))
    before = RunFrames(REQUEST)
    assert len(list(before.feed(encoded(frames[:index])))) == index


@pytest.mark.parametrize(
    "order",
    [
        [STEP, LOG, DONE, END],
        [END],
        [START, START],
        [START, LOG],
        [START, CALL],
        [START, DONE],
        [START, STEP, START],
        [START, STEP, STEP],
        [START, STEP, CALL, CALL],
        [START, STEP, END],
        [START, STEP, DONE, STEP],
        [START, STEP, DONE, LOG],
        [START, STEP, DONE, CALL],
        [START, STEP, DONE, DONE],
        [START, STEP, DONE, END, LOG],
        [START, STEP, DONE, END, END],
        [START, STEP, DONE, END, CALL],
    ],
    ids=str,
)
def test_the_last_of_these_frames_is_out_of_order(order: list[int]) -> None:
    frames = renumbered([whole()[index] for index in order])
    with pytest.raises(ProtocolError):
        accepted(encoded(frames))
    if order[0] == START:
        assert len(accepted(encoded(frames[:-1]))) == len(order) - 1


def renumbered(frames: Frames) -> Frames:
    numbers = iter(range(len(frames)))
    return [
        ({**header, "seq": next(numbers)} if "seq" in header else header, body)
        for header, body in frames
    ]


BODIES = [
    b"{not json",
    b"\xff",
    b"",
    b"[" * 5000 + b"]" * 5000,
    b'{"a":' * 300 + b"1" + b"}" * 300,
    b"9" * 5000,
    b'{"a":' + b"9" * 4301 + b"}",
    b"NaN",
    b'["\\ud800",NaN]',
    b"1 2",
    b'"\\x"',
    b"\xef\xbb\xbf1",
]


@pytest.mark.parametrize("body", BODIES[:2] + BODIES[3:], ids=lambda body: body[:12])
@pytest.mark.parametrize("index", [DONE, END])
def test_a_dataclip_is_what_every_reader_can_read(index: int, body: bytes) -> None:
    frames = whole()
    data = encoded(frames[:index]) + framed(json.dumps(frames[index][0]).encode(), body)
    with pytest.raises(ProtocolError):
        accepted(data)


@pytest.mark.parametrize("body", ['"\\ud800"', '"\\uDfff\\n"', "9" * 4300, '"' + "9" * 9000 + '"'])
def test_a_dataclip_may_be_any_json(body: str) -> None:
    frames = whole()
    frames[DONE] = frames[DONE][0], body
    assert accepted(encoded(frames))[DONE].output_dataclip.value == json.loads(body)


@pytest.mark.parametrize("index", [START, STEP, LOG])
def test_an_event_without_a_dataclip_has_no_body(index: int) -> None:
    frames = whole()
    frames[index] = frames[index][0], "{}"
    with pytest.raises(ProtocolError, match="too large"):
        accepted(encoded(frames))


# --- lengths --------------------------------------------------------------------------------------


def head_and_size(index: int, size_bytes: int) -> bytes:
    """Return a frame up to its body, which it announces and does not send."""
    frames = whole()
    head = json.dumps(frames[index][0]).encode()
    return encoded(frames[:index]) + struct.pack("<II", len(head), size_bytes) + head


@pytest.mark.parametrize(
    ("index", "largest"),
    [(DONE, 3 * MIB + OVERHEAD_BYTES), (END, 3 * 15 * MIB + OVERHEAD_BYTES), (CALL, 20 * MIB)],
)
def test_a_body_is_refused_by_the_runs_own_limits_before_it_is_read(
    index: int, largest: int
) -> None:
    assert len(accepted(head_and_size(index, largest))) == index
    with pytest.raises(TrafficExceeded if index == CALL else ProtocolError):
        accepted(head_and_size(index, largest + 1))


def test_a_header_is_refused_by_the_runs_own_limits_before_it_is_read() -> None:
    longest = OVERHEAD_BYTES + 6 * MIB // 2
    assert accepted(struct.pack("<II", longest, 0)) == []
    with pytest.raises(ProtocolError, match="too large"):
        accepted(struct.pack("<II", longest + 10_000, 0))


@pytest.mark.parametrize("character", ["x", "\u0000", "\u20ac", "\U0001f600"])
def test_the_longest_log_line_fits(character: str) -> None:
    child = ChildFrames(REQUEST)
    frames = [child.run_start(), child.step_start(), child.log(character * (MIB // 2))]
    assert len(accepted(b"".join(map(encode_frame, frames)))) == 3


@pytest.mark.parametrize(("more", "is_refused"), [(0, False), (1, True)])
def test_the_characters_of_a_log_are_counted(more: int, is_refused: bool) -> None:
    limits = Limits(memory_mb=60, log_payload_mb=0.5, log_total_mb=0.001)
    frames, child = RunFrames(request(limits)), ChildFrames(request(limits))
    # The note of the text that was cut may be longer than the limit.
    longest = int(0.001 * MIB) + 200
    headers = [child.run_start(), child.step_start(), child.log("x" * (longest - 10))]
    data = encoded([(header, None) for header in (*headers, child.log("x" * (10 + more)))])
    if not is_refused:
        assert len(list(frames.feed(data))) == 4
        return
    with pytest.raises(ProtocolError, match="too long a log"):
        list(frames.feed(data))


@pytest.mark.parametrize(
    ("levels", "problem"), [(LEVELS - 1, "not a frame"), (LEVELS, "a header is nested too deeply")]
)
def test_a_header_may_be_nested_so_deeply_and_no_deeper(levels: int, problem: str) -> None:
    head = b'{"type":"run:log","x":' + b"[" * levels + b"]" * levels + b"}"
    with pytest.raises(ProtocolError, match=problem):
        decode_frame(head)


def test_log_lines_are_counted() -> None:
    child = ChildFrames(REQUEST)
    frames = [child.run_start(), child.step_start(), *(child.log() for _ in range(4))]
    assert len(accepted(b"".join(map(encode_frame, frames)))) == 6
    with pytest.raises(ProtocolError, match="too many log lines"):
        accepted(b"".join(map(encode_frame, [*frames, child.log()])))


# --- anything at all ------------------------------------------------------------------------------

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
NAMES = sorted({name for header, _ in whole() for name in header})


def replaced(frames: Frames, index: int, name: str, value: Any) -> Frames:
    frames[index] = {**frames[index][0], name: value}, frames[index][1]
    return frames


def deep(frames: Frames, index: int, levels: int) -> bytes:
    head = json.dumps({**frames[index][0], "reason": "fail"})
    nested = '{"a":' * levels + "1" + "}" * levels
    error = f', "error": {{"type": "JobError", "message": "m", "details": {nested}}}}}'
    return encoded(frames[:index]) + framed((head[:-1] + error).encode())


def flipped(data: bytes, at: int, byte: int) -> bytes:
    at %= len(data)
    return data[:at] + bytes([byte]) + data[at + 1 :]


ATTACKS: st.SearchStrategy[bytes] = st.one_of(
    st.builds(
        lambda index, name, value: encoded(replaced(whole(), index, name, value)),
        st.integers(0, 5),
        st.sampled_from(NAMES),
        values,
    ),
    st.builds(
        lambda order: encoded([whole()[index] for index in order]), st.permutations(range(6))
    ),
    st.builds(
        lambda index, head, body: encoded(whole()[:index]) + framed(head, body),
        st.integers(0, 5),
        st.binary(max_size=50),
        st.binary(max_size=50),
    ),
    st.builds(
        lambda index, levels: deep(whole(), index, levels),
        st.sampled_from([DONE, END]),
        st.sampled_from([100, 199, 500, 5000, 100_000]),
    ),
    st.builds(
        lambda at, byte: flipped(encoded(whole()), at, byte), st.integers(0), st.integers(0, 255)
    ),
)


@given(data=ATTACKS, size=st.sampled_from([1, 64, 1 << 18]))
def test_whatever_is_sent_is_valid_or_a_protocol_error_and_the_run_ends_once(
    data: bytes, size: int
) -> None:
    check_once(data, size if len(data) < 10_000 else 1 << 18)


def check_once(data: bytes, size: int) -> None:
    frames = RunFrames(REQUEST)
    events: list[Any] = []
    try:
        for at in range(0, len(data), size):
            for frame, _ in frames.feed(data[at : at + size]):
                if hasattr(frame, "seq"):
                    events.append(frame)
    except (ProtocolError, TrafficExceeded):
        pass
    events += frames.stream.complete(StepError(type="ProtocolError", message="m"), now_us=2)
    assert [event.type for event in events].count("run:complete") == 1
    assert [event.seq for event in events] == list(range(len(events)))
    for event in events:
        # All that a reader of the result or of a journal does with it.
        dataclip = getattr(event, "final_state", None) or getattr(event, "output_dataclip", None)
        assert dataclip is None or isinstance(dataclip.value, object)
    assert events[-1].type == "run:complete" and events[-1].status


def test_durations_and_memory_of_what_the_parent_completes() -> None:
    frames = RunFrames(REQUEST)
    child = ChildFrames(REQUEST)
    start, step = {**child.run_start(), "timestamp": 100}, {**child.step_start(), "timestamp": 250}
    list(frames.feed(encode_frame(start) + encode_frame(step)))
    error = StepError(type="CancelledError", message="m")
    done, end = frames.stream.complete(error, now_us=1000, memory_bytes=7)
    assert (done.duration, done.mem, done.type) == (750, 7, "step:complete")  # type: ignore[union-attr]
    assert (end.duration, end.mem, end.type) == (900, 7, "run:complete")  # type: ignore[union-attr]
    assert list(frames.stream.complete(error, now_us=2000)) == []


def test_a_step_that_has_ended_is_not_completed_again() -> None:
    frames, child = RunFrames(REQUEST), ChildFrames(REQUEST)
    sent = [(child.run_start(), None), (child.step_start(), None), (child.step_complete(), "{}")]
    list(frames.feed(encoded(sent)))
    ends = list(frames.stream.complete(StepError(type="CancelledError", message="m"), now_us=1))
    assert [event.type for event in ends] == ["run:complete"]


def test_a_run_that_never_began_is_completed_without_a_step() -> None:
    (end,) = EventStream("r").complete(StepError(type="ZygoteError", message="m"), now_us=5)
    assert isinstance(end, RunComplete)
    assert (end.seq, end.timestamp, end.duration, end.mem) == (0, 5, 0, 0)


def test_one_step_runs_at_a_time() -> None:
    frames = ChildFrames(REQUEST)
    begun = [frames.run_start(), frames.step_start()]
    name = REQUEST.plan.step("b").name
    ids = {"step_id": frames.output_id, "input_dataclip_id": frames.input_id}
    second = frames.event("step:start", job_id="b", job_name=name, execution=0, **ids)
    with pytest.raises(ProtocolError, match="while another step runs"):
        accepted(encoded([(header, None) for header in (*begun, second)]))


@pytest.mark.parametrize(("execution", "fits"), [(0, False), (1, True), (2, False)])
def test_executions_of_a_step_are_counted(execution: int, fits: bool) -> None:
    frames = ChildFrames(REQUEST)
    *_, next_id = itertools.islice(generate_ids(REQUEST.seed), 4)
    first = [(frames.run_start(), None), (frames.step_start(), None)]
    done = (frames.step_complete(), "{}")
    again = {**frames.step_start(execution), "step_id": next_id}
    data = encoded([*first, done, (again, None)])
    if fits:
        assert len(accepted(data)) == 4
    else:
        with pytest.raises(ProtocolError, match="an execution out of order"):
            accepted(data)
