"""Recording of a run that is reported with its events, for the client that ordered it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from worker.adaptors.http.exchange import Exchange
from worker.fleet.messaging.recorded_lines import ESCAPED_SIZE
from worker.replay.recorder import PreparedRecording
from worker.replay.recording_lines import dropped_line, exchange_line, header_line
from worker.replay.scrub import scrub_exchange
from worker.runner.prepare import Options
from worker.util.masking import collect_input_secrets
from worker.workflow.credential_names import split_configuration
from worker.workflow.model import Workflow

MAX_RECORDED_BYTES = 64 * 1024 * 1024
"""The size of the largest recording, which the control plane stores with the run's events."""
_EVENT_BYTES = 8192
"""Room for the envelope of a message, and for an event without a state."""


class ReportedRecording:
    """The lines of a recording that were not reported yet. Secrets are masked in them.

    The run must use :attr:`options`; :meth:`exchange` receives its requests. They are reported with
    events of up to ``limit_bytes``.
    """

    def __init__(
        self,
        run_id: str,
        workflow: Workflow,
        options: Options,
        input: Mapping[str, Any],
        limit_bytes: int,
    ) -> None:
        # Not the names of all credentials that this worker has: a client of one project reads it.
        named = {split_configuration(step.configuration)[0] for step in workflow.steps}
        credentials = {
            name: fields for name, fields in (options.credentials or {}).items() if name in named
        }
        prepared = PreparedRecording(workflow, replace(options, credentials=credentials))
        self.options = replace(options, clock=prepared.options.clock)
        self._scrub = prepared.scrubber.with_secrets(collect_input_secrets(input))
        self._lines = deque([header_line(replace(prepared.header, run_id=run_id))])
        self._room_bytes = MAX_RECORDED_BYTES
        self._max_line_bytes = (limit_bytes - _EVENT_BYTES) // ESCAPED_SIZE
        self._dropped = 0

    def exchange(self, exchange: Exchange) -> None:
        """Add a request and its reply."""
        self._scrub, scrubbed = scrub_exchange(self._scrub, exchange)
        line = exchange_line(scrubbed)
        # In the queue, a line that no message has room for would keep back all that follow it.
        if len(line) > min(self._room_bytes, self._max_line_bytes):
            self._dropped += 1
        else:
            self._room_bytes -= len(line)
            self._lines.append(line)

    def take(self, limit_bytes: int, *, last: bool) -> bytes:
        """Remove and return whole lines of at most ``limit_bytes``.

        After the ``last`` ones a line has the number of requests that had no room.
        """
        taken: list[bytes] = []
        while self._lines:
            limit_bytes -= len(self._lines[0])
            if limit_bytes < 0:
                break
            taken.append(self._lines.popleft())
        if last:
            self._dropped += len(self._lines)
            self._lines.clear()
            if self._dropped:
                taken.append(dropped_line(self._dropped))
        return b"".join(taken)
