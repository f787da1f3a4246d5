"""Collector of the reports of a worker: acknowledges events and chunks as a control plane does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.content import joined
from worker.fleet.messaging.worker_protocol import (
    Ack,
    Acks,
    Reports,
    Response,
    RunReport,
    decode_reported,
)
from worker.util.nesting import ENVELOPE_LEVELS, NESTING_LIMIT, nests_deeper

# The worker under test may announce any size; those of the cases are below one megabyte.
MAX_CONTENT_BYTES = 64 * 2**20
NESTING = NESTING_LIMIT + ENVELOPE_LEVELS
"""Levels of objects and arrays that a message may have."""
ReportedEvent = dict[str, Any]


@dataclass(slots=True)
class ReportCollector:
    """Events of the runs of a worker, by run id, and chunks by the hash of their content."""

    events: dict[str, list[ReportedEvent]] = field(default_factory=dict)
    chunks: dict[str, dict[int, bytes]] = field(default_factory=dict)

    def handle(self, channel: str, payload: bytes) -> Response:
        """Handle a message of a worker, and return the response to it.

        Raises :class:`worker.fleet.messaging.messages.WireError` for a malformed message.
        """
        if channel == "chunk":
            return self._store(wire.decode(wire.Chunk, payload))
        return self._acknowledge(wire.decode(Reports, payload))

    def _store(self, chunk: wire.Chunk) -> Response:
        ref = chunk.content
        if ref.size > MAX_CONTENT_BYTES:
            raise wire.WireError(
                f"a content of {ref.size:,} bytes (expected at most {MAX_CONTENT_BYTES:,})"
            )
        if chunk.offset + len(chunk.data) > ref.size:
            raise wire.WireError(
                f"a chunk up to byte {chunk.offset + len(chunk.data):,} of {ref.size:,}"
            )
        self.chunks.setdefault(ref.hash, {})[chunk.offset] = chunk.data
        return wire.ChunkStored(hash=ref.hash, offset=chunk.offset)

    def _acknowledge(self, reports: Reports) -> Response:
        refs = [report.content for report in reports.runs if report.content is not None]
        # Another case may have received them: the worker sends them again.
        if missing := [ref.hash for ref in refs if self._content(ref) is None]:
            return wire.MissingContent(hashes=missing)
        acks = [self._ack(report) for report in reports.runs]
        return Acks(number=reports.number, acks=acks)

    def _content(self, ref: wire.ContentRef) -> bytes | None:
        return joined(ref, self.chunks.get(ref.hash, {}))

    def _ack(self, report: RunReport) -> Ack:
        lease = report.lease
        events = self.events.setdefault(lease.run_id, [])
        for text in self._texts(report):
            event = _decode(text, lease.run_id)
            if event["seq"] == len(events):
                events.append(event)
        return Ack(run_id=lease.run_id, attempt=lease.attempt, upto=len(events) - 1)

    def _texts(self, report: RunReport) -> Iterator[bytes]:
        if report.content is not None:
            yield self._content(report.content) or b""
        yield from map(bytes, report.events)

    def of(self, run_id: str) -> list[ReportedEvent]:
        """Return the events of a run so far."""
        return self.events.get(run_id, [])

    def has_ended(self, run_id: str) -> bool:
        events = self.of(run_id)
        return bool(events) and events[-1]["type"] == "run:complete"


def _decode(text: bytes, run_id: str) -> ReportedEvent:
    if nests_deeper(text, NESTING):
        raise wire.WireError("an event is nested too deeply")
    event, _ = decode_reported(text)
    if event.run_id != run_id:
        raise wire.WireError(f"an event of the run {event.run_id} among those of {run_id}")
    try:
        # Not the event itself: the patterns of a case have the fields as they were sent.
        fields: ReportedEvent = json.loads(text)
    except ValueError as error:
        raise wire.WireError(f"an event is not valid JSON: {error}") from error
    return fields
