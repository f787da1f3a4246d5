"""Frames of a run's process, decoded by type and checked against the run's own request.

The process executes code of strangers, so nothing that it sends is believed: types are checked
while a header is decoded, sizes before the bytes are buffered, and ids, order and lengths against
the plan and the limits of the request. Everything else is a :class:`ProtocolError`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final, TypeAlias, cast

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from worker.core.event_stream import EventStream
from worker.core.events import (
    AnyEvent,
    Count,
    Dataclip,
    RunComplete,
    RunLog,
    RunStart,
    StepComplete,
    StepStart,
    Timestamp,
)
from worker.core.outcome import StepError
from worker.sandbox.dataclip import IdSequence
from worker.sandbox.parent.host import TrafficExceeded
from worker.sandbox.protocol import (
    HOST_CALL,
    PROGRAMS_DROPPED,
    RUN_STOPPED,
    RUNNER_IDLE,
    FrameDecoder,
    ProtocolError,
    RunRequest,
)
from worker.util.nesting import ENVELOPE_LEVELS, NESTING_LIMIT, nests_deeper
from worker.workflow.model import Edge

LEVELS: Final = NESTING_LIMIT + ENVELOPE_LEVELS
OVERHEAD_BYTES: Final = 256 * 1024
"""What a frame may hold beyond the texts whose length a limit bounds."""
_SPELLING: Final = 6
"""Bytes that a character of a text may take in JSON, as ``\\u0000``."""
_CUT_NOTE: Final = 200
"""Characters that the note of a text that was cut adds to it, at most."""
_BESIDE_NAMES: Final = 8
"""Characters that stand around the id and the name of a step."""
MAX_ERROR_CHARACTERS: Final = 500
_MAX_DIGITS: Final = 4300
"""Digits of the longest integer that Python reads."""
_SOURCES: Final = frozenset(("JOB", "ADA", "R/T", "CMP", "VER"))
_LOG_LEVELS: Final = frozenset(("debug", "info", "warn", "error"))
_REASONS: Final = frozenset(("success", "fail", "crash", "kill", "exception"))
"""Reasons that code can end with. The parent alone cancels a run, but a script may do all."""

Number = Annotated[int, Meta(ge=1, le=2**53)]
Name = Annotated[str, Meta(max_length=100)]


class Notice(Struct, frozen=True, tag_field="type", forbid_unknown_fields=True):
    """A frame that is no event."""


class CallFrame(Notice, frozen=True, tag=HOST_CALL, kw_only=True):
    """A call for the parent's host, made by an execution of a step. Its body is the request."""

    number: Number
    kind: Name
    step: str
    execution: Count
    now_us: Timestamp


class RunStopped(Notice, frozen=True, tag=RUN_STOPPED):
    """The run's time is over, and the parent completes it. ``mem`` is its peak in bytes."""

    mem: Count


class ProgramsDropped(Notice, frozen=True, tag=PROGRAMS_DROPPED):
    """Programs that a runner has dropped: they must be sent again before a next run."""

    programs: tuple[Name, ...]


class RunnerIdle(Notice, frozen=True, tag=RUNNER_IDLE):
    """The runner has removed a run from its memory, and waits for the next one."""


Frame: TypeAlias = AnyEvent | CallFrame | RunStopped | ProgramsDropped | RunnerIdle

_decode = cast("msgspec.json.Decoder[Frame]", msgspec.json.Decoder(Frame)).decode
_skip = msgspec.json.Decoder(msgspec.Raw).decode
_ONLY_DIGITS: Final = bytes(48 if 48 <= byte <= 57 else 32 for byte in range(256))


def decode_frame(head: bytes) -> Frame:
    """Decode the header of a frame. Raises :class:`ProtocolError` for anything else."""
    frame: Frame = typed(_decode, Frame, head)
    return frame


def typed(decode: Any, type: Any, head: bytes) -> Any:
    """Decode JSON with a decoder of a type. Raises :class:`ProtocolError` for anything else."""
    if nests_deeper(head, LEVELS):
        raise ProtocolError("a header is nested too deeply")
    try:
        try:
            return decode(head)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            # It refuses the escape of half a surrogate pair, which JavaScript's strings may hold.
            return msgspec.convert(json.loads(head), type)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not a frame: {error}") from error


def protocol_error(error: ProtocolError) -> StepError:
    """Return the error of a run whose process sent something else than its frames."""
    # What the process sent may be part of the text.
    text = str(error)[:MAX_ERROR_CHARACTERS].encode("utf-8", "replace").decode()
    return StepError(type="ProtocolError", message=f"the run's process: {text}")


def check_json(body: str) -> None:
    """Raise :class:`ProtocolError` for text that ``json.loads`` would not read."""
    data = body.encode()
    if nests_deeper(data, LEVELS):
        raise ProtocolError("a dataclip is nested too deeply")
    try:
        _skip(data)
    except (msgspec.DecodeError, RecursionError) as error:
        # Half a surrogate pair, as in a header, is the only other text of JSON that it refuses.
        if "\\ud" not in body.lower():
            raise ProtocolError(f"not a dataclip: {error}") from error
        _parse(body)
    if len(data) > _MAX_DIGITS and b"0" * _MAX_DIGITS in data.translate(_ONLY_DIGITS):
        _parse(body)


def _parse(body: str) -> None:
    try:
        json.loads(body, parse_constant=_reject_constant)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not a dataclip: {error}") from error


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


class RunFrames:
    """Decodes what the process of one run sends, and checks it against the run's request."""

    def __init__(self, request: RunRequest) -> None:
        self._request = request
        self._limits = limits = request.limits
        self._plan = request.plan
        self._decoder = FrameDecoder(
            decode_frame,
            max_header_bytes=OVERHEAD_BYTES
            + _SPELLING * limits.log_payload_bytes
            + _SPELLING * (self._plan.name_characters + _BESIDE_NAMES * len(self._plan.steps)),
            check_size=self._check_size,
        )
        self.stream = EventStream(request.run_id)
        self._ids = IdSequence(request.seed)
        errors = [step.error for steps in request.script.values() for step in steps]
        self._reasons = _REASONS.union(error.reason for error in errors if error)
        self._executions: dict[str, int] = {}
        self._taken: dict[str, tuple[str, ...]] = {}
        self._open: StepStart | None = None
        self._last_call = self._log_lines = self._log_characters = 0

    @property
    def unread(self) -> bytes:
        """The bytes of a frame that is not complete."""
        return self._decoder.unread

    def feed(self, data: bytes) -> Iterator[tuple[Frame, str]]:
        """Yield the frames that ``data`` completes, each with its body; an event has its dataclip.

        Raises :class:`ProtocolError`, and :class:`TrafficExceeded` for a call that is larger than
        the run's memory allows.
        """
        for frame, body in self._decoder.feed(data):
            if not isinstance(frame, Notice):
                self._check_event(frame, body)
            elif isinstance(frame, CallFrame):
                self._check_call(frame)
            yield frame, body or ""

    def _check_size(self, frame: Frame, size_bytes: int) -> None:
        if not size_bytes:
            return
        if isinstance(frame, CallFrame):
            # The text, the body that is parsed from it, and that body as bytes.
            if 3 * size_bytes > self._limits.memory_bytes:
                raise TrafficExceeded
        elif size_bytes > self._max_body_bytes(frame):
            raise ProtocolError(f"a body of {size_bytes:,} bytes is too large")

    def _max_body_bytes(self, frame: Frame) -> int:
        # A masked state is encoded anew, where a character may take three times the bytes.
        if isinstance(frame, StepComplete):
            return 3 * self._limits.payload_bytes + OVERHEAD_BYTES
        if isinstance(frame, RunComplete):
            return 3 * self._limits.state_bytes + OVERHEAD_BYTES
        return 0

    def _check_call(self, call: CallFrame) -> None:
        step = self._open
        if step is None or (step.job_id, step.execution) != (call.step, call.execution):
            raise ProtocolError(f"a call of step {call.step[:100]!r}, which does not run")
        if call.number <= self._last_call:
            raise ProtocolError(f"call {call.number} after call {self._last_call}")
        self._last_call = call.number

    def _check_event(self, event: AnyEvent, body: str | None) -> None:
        try:
            self.stream.expect(event)
        except ValueError as error:
            raise ProtocolError(str(error)) from error
        # Not isinstance(), which takes longer for a type that does not fit.
        if type(event) is RunStart:
            self._check_run_start(event)
        elif not self.stream.started:
            raise ProtocolError("an event before run:start")
        elif type(event) is StepStart:
            self._check_step_start(event)
        elif type(event) is StepComplete:
            self._check_step_complete(event, body)
        elif type(event) is RunLog:
            self._check_log(event)
        elif type(event) is RunComplete:
            self._check_run_complete(event, body)
        # Last: an event that is refused was never received, and the parent completes the run.
        self.stream.record(event)

    def _check_run_start(self, event: RunStart) -> None:
        request = self._request
        _require(not self.stream.started, "a second run:start")
        _require(event.workflow == request.plan.name, "another workflow")
        _require(event.versions == request.versions, "other versions")

    def _check_step_start(self, event: StepStart) -> None:
        job_id = event.job_id
        _require(self._open is None, "step:start while another step runs")
        _require(job_id in self._plan.index, "an unknown step")
        _require(self._plan.step(job_id).name == event.job_name, "another name of a step")
        execution = self._executions.get(job_id, 0)
        _require(event.execution == execution, "an execution out of order")
        _require(self._ids.has(event.input_dataclip_id), "an unknown dataclip")
        _require(self._ids.advances(event.step_id), "a step_id out of order")
        self._executions[job_id] = execution + 1
        self._open = event

    def _check_log(self, event: RunLog) -> None:
        step = self._open
        ids = ("", "") if step is None else (step.step_id, step.job_id)
        _require((event.step_id, event.job_id) in (ids, ("", "")), "a log line of another step")
        _require(event.source in _SOURCES and event.level in _LOG_LEVELS, "an unknown log level")
        self._log_lines += 1
        self._log_characters += len(event.message)
        limits, longest = self._limits, self._limits.log_payload_bytes + _CUT_NOTE
        _require(len(event.message) <= longest, "a log line over its limit")
        # The line over a limit is replaced by the last one, which reports that.
        _require(self._log_lines <= limits.log_lines + 1, "too many log lines")
        _require(self._log_characters <= limits.log_total_bytes + _CUT_NOTE, "too long a log")

    def _check_step_complete(self, event: StepComplete, body: str | None) -> None:
        step = self._open
        if step is None or step.step_id != event.step_id or step.job_id != event.job_id:
            raise ProtocolError("step:complete of a step that does not run")
        self._check_next(event, step.job_id)
        _require(self._ids.has(event.output_dataclip_id), "an unknown dataclip")
        _require(event.output_dataclip is None, "a dataclip within a header")
        self._check_end(event)
        _attach(event, "output_dataclip", body)
        self._open = None

    def _check_next(self, event: StepComplete, job_id: str) -> None:
        taken = self._taken.get(job_id)
        if taken != event.next:
            taken = _own_names(self._plan.step(job_id).open_edges, event.next)
            self._taken[job_id] = taken
        # Decoded names take up to ten times the bytes of their frame, and events are kept.
        force_setattr(event, "next", taken)

    def _check_run_complete(self, event: RunComplete, body: str | None) -> None:
        _require(self._open is None, "run:complete while a step runs")
        _require(self._ids.has(event.final_dataclip_id), "an unknown dataclip")
        _require(event.final_state is None, "a dataclip within a header")
        self._check_end(event)
        _attach(event, "final_state", body)

    def _check_end(self, event: StepComplete | RunComplete) -> None:
        expected = "success" if event.error is None else event.error.reason
        if event.reason != expected or expected not in self._reasons:
            raise ProtocolError(f"the reason {event.reason!r} of an error that is {expected!r}")


def _own_names(edges: Iterable[Edge], taken: Iterable[str]) -> tuple[str, ...]:
    """Return the targets of the edges taken, in the plan's own texts, which all events share.

    Raises :class:`ProtocolError` for names that are not those of edges, in their order.
    """
    names, own = iter(taken), []
    name = next(names, None)
    for edge in edges:
        if edge.target == name:
            own.append(edge.target)
            name = next(names, None)
    _require(name is None, "a step without an edge")
    return tuple(own)


def _attach(event: StepComplete | RunComplete, name: str, body: str | None) -> None:
    if body is not None:
        check_json(body)
        # In place, as nobody else has the event yet.
        force_setattr(event, name, Dataclip(body))


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise ProtocolError(problem)
