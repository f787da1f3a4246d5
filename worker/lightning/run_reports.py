"""Conversion of a run's events to those of Lightning's protocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import msgspec
from msgspec import Struct

from worker.core.events import AnyEvent, RunComplete, RunLog, RunStart, StepComplete, StepStart
from worker.core.outcome import StepError
from worker.lightning.delivery import LOG, OutgoingEvent
from worker.lightning.error_words import WireReason, run_reason, step_reason
from worker.lightning.run_plan import RunPlan
from worker.lightning.sanitize import sanitize
from worker.lightning.serializer import MAX_FRAME_BYTES, encode_json

LEVELS = ("success", "always", "info", "warn", "error", "debug")
MAX_SOURCE_CHARACTERS = 8
MAX_PAYLOAD_BYTES = MAX_FRAME_BYTES - 64 * 1024
"""The largest payload, which leaves room for the other strings of its frame."""
MAX_STATE_BYTES = MAX_PAYLOAD_BYTES - 1_000_000
"""The largest final state, beside which an error must have room."""
# A control character takes six bytes in JSON, and an output is text within JSON.
_ESCAPED_BYTES = 6
MAX_LINE_BYTES = MAX_PAYLOAD_BYTES // _ESCAPED_BYTES
LOG_TOO_LONG = "[REDACTED: Message length exceeds payload limit]"
TOO_LARGE = "DATACLIP_TOO_LARGE"
# A run that never got so far has these reasons, and its state is of no use.
_ENDS_WITH_STATE = ("success", "fail")


class _Dataclips:
    """Dataclips of a run: our id of each output, and whether the server gets it."""

    def __init__(self, first_id: str | None) -> None:
        self._first_id = first_id
        self._our_first: str | None = None
        self._reported: set[str] = set()

    def report(self, id: str) -> None:
        self._reported.add(id)

    def input_id(self, id: str) -> str | None:
        if self._our_first is None:
            self._our_first = id
        # The input of the run has an id of the server's; that of the sandbox means nothing there.
        return self._first_id if id == self._our_first else self.output_id(id)

    def output_id(self, id: str | None) -> str | None:
        return id if id in self._reported else None


class RunReports:
    """Converts the events of one run, in their order."""

    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan
        self._dataclips = _Dataclips(plan.dataclip_id)
        self.withhold = False
        """Outputs are left out while true, because too many events wait to be sent."""

    def convert(self, event: AnyEvent) -> Iterator[OutgoingEvent]:
        """Yield the events to send for an event of the run."""
        match event:
            case RunStart():
                versions = {**event.versions, **self._plan.versions}
                yield run_start(versions, event.timestamp)
            case StepStart():
                yield self._step_start(event)
            case RunLog():
                yield from self._log(event)
            case StepComplete():
                yield self._step_complete(event)
            case RunComplete():
                yield from self._run_complete(event)

    def _step_start(self, event: StepStart) -> OutgoingEvent:
        payload: dict[str, Any] = {
            "step_id": event.step_id,
            "job_id": event.job_id,
            "timestamp": str(event.timestamp),
        }
        dataclip_id = self._dataclips.input_id(event.input_dataclip_id)
        if dataclip_id is not None:
            payload["input_dataclip_id"] = dataclip_id
        return OutgoingEvent(
            event=event.type, payload=payload, step_id=event.step_id, uses=dataclip_id or ""
        )

    def _log(self, event: RunLog) -> Iterator[OutgoingEvent]:
        if event.source == "JOB" and not self._plan.job_logs:
            return
        text = event.message
        if event.source in ("JOB", "ADA"):
            text = sanitize(text, self._plan.sanitize)
        # An empty message is refused, and with it all lines of its batch.
        if text.strip():
            limit = min(self._plan.limits.log_payload_bytes, MAX_LINE_BYTES)
            text = text if len(text.encode("utf-8", "replace")) <= limit else LOG_TOO_LONG
            yield log_line(text, event.timestamp, event.source, event.level, step_id=event.step_id)

    def _step_complete(self, event: StepComplete) -> OutgoingEvent:
        payload: dict[str, Any] = {
            "step_id": event.step_id,
            "job_id": event.job_id,
            "mem": {"job": event.mem, "system": event.mem},
            "duration": event.duration // 1000,
            "thread_id": 1,
            "timestamp": str(event.timestamp),
            **step_reason(event.reason, event.error).fields,
        }
        output = event.output_dataclip.text if event.output_dataclip else "{}"
        if (response := _webhook_response(output)) is not None:
            payload["webhook_response"] = response
        dataclip_id = self._output(event, output, payload)
        return OutgoingEvent(
            event=event.type, payload=payload, step_id=event.step_id, makes=dataclip_id
        )

    def _output(self, event: StepComplete, output: str, payload: dict[str, Any]) -> str:
        """Add the output to a payload; return its id, or an empty string if it is withheld."""
        keeps = self._plan.output_dataclips
        if event.withheld or (keeps and (self.withhold or _is_too_large(output, payload))):
            # Lightning refuses an id without content, and content without an id.
            payload["output_dataclip_error"] = TOO_LARGE
            return ""
        # Every execution that has ended has an output there, also one that was aborted.
        dataclip_id = event.output_dataclip_id or str(uuid5(NAMESPACE_OID, event.step_id))
        payload["output_dataclip_id"] = dataclip_id
        if keeps:
            payload["output_dataclip"] = output
        self._dataclips.report(dataclip_id)
        return dataclip_id

    def _run_complete(self, event: RunComplete) -> Iterator[OutgoingEvent]:
        state: dict[str, Any] = {}
        dataclip_id = None
        if event.reason in _ENDS_WITH_STATE:
            dataclip_id = self._dataclips.output_id(event.final_dataclip_id)
            if event.final_state is not None:
                state = _final_state(event.final_state.text)
        if dataclip_id is not None:
            state["final_dataclip_id"] = dataclip_id
        reason = run_reason(event.reason, event.error)
        yield from complete(reason, event.timestamp, state, uses=dataclip_id or "")


def run_start(versions: Mapping[str, Any], timestamp: int) -> OutgoingEvent:
    payload = {"versions": dict(versions), "timestamp": str(timestamp)}
    return OutgoingEvent(event="run:start", payload=payload)


def log_line(
    text: str, timestamp: int, source: str = "R/T", level: str = "info", *, step_id: str = ""
) -> OutgoingEvent:
    """Build the event of one log line."""
    payload: dict[str, Any] = {
        # PostgreSQL stores no NUL, so the server would fail on the line.
        "message": [text.replace("\0", "")],
        "source": source[:MAX_SOURCE_CHARACTERS],
        "level": level if level in LEVELS else "info",
        "timestamp": str(timestamp),
    }
    if step_id:
        payload["step_id"] = step_id
    return OutgoingEvent(event=LOG, payload=payload, step_id=step_id)


def complete(
    reason: WireReason, timestamp: int, state: Mapping[str, Any], *, uses: str = ""
) -> Iterator[OutgoingEvent]:
    """Yield the events that end a run: its last log lines, and ``run:complete``."""
    yield log_line(f"Run complete with status: {reason.reason}", timestamp)
    if reason.error_type is not None:
        text = f"{reason.error_type}: {reason.error_message}"
        yield log_line(text[:100_000], timestamp)
    payload = {"timestamp": str(timestamp), **state, **reason.fields}
    yield OutgoingEvent(event="run:complete", payload=payload, uses=uses)


def failed(reason: str, error_type: str, message: str, timestamp: int) -> Iterator[OutgoingEvent]:
    """Yield the events that end a run which no step of its own has ended."""
    error = StepError(type=error_type, message=message)
    yield from complete(run_reason(reason, error), timestamp, {})


class _WebhookState(Struct):
    webhookResponse: Any = None  # noqa: N815 (the key in a job's state)


def _webhook_response(output: str) -> Any:
    # Few runs answer a webhook: the others are not parsed for it.
    if '"webhookResponse"' not in output:
        return None
    try:
        response = msgspec.json.decode(output, type=_WebhookState).webhookResponse
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
    if not isinstance(response, Mapping):
        return None
    return {name: response[name] for name in ("status", "body") if name in response}


def _final_state(text: str) -> dict[str, Any]:
    data = text.encode("utf-8", "replace")
    # As text: it is not parsed only to be encoded again.
    return {} if len(data) > MAX_STATE_BYTES else {"final_state": msgspec.Raw(data)}


def _is_too_large(output: str, payload: dict[str, Any]) -> bool:
    """Return whether an output makes the frame larger than the server accepts."""
    if (len(output) + 1) * (_ESCAPED_BYTES + 1) < MAX_PAYLOAD_BYTES:
        return False
    size = len(encode_json({**payload, "output_dataclip": output}))
    if size > MAX_PAYLOAD_BYTES:
        payload.pop("webhook_response", None)
    return size > MAX_PAYLOAD_BYTES
