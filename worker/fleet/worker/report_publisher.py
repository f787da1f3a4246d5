"""Publication of the events of runs: to their outboxes first, then to the control plane."""

from __future__ import annotations

import asyncio

from worker.core.outcome import StepError
from worker.fleet.messaging.content import MAX_MESSAGE_BYTES, MIN_MESSAGE_BYTES
from worker.fleet.worker.event_size import encode_within
from worker.fleet.worker.leased_run import exception_end
from worker.fleet.worker.outbox import Outbox, RunOutbox
from worker.fleet.worker.report_sender import ReportSender
from worker.fleet.worker.worker_publisher import WorkerPublisher
from worker.sinks.log import LeveledLogger
from worker.util.machine_clock import monotonic_s

ENVELOPE_BYTES = 4096
"""The size of a message without its events."""


class ReportPublisher:
    """Publishes what the ``sender`` has due, while the worker is ``connected``."""

    def __init__(
        self,
        sender: ReportSender,
        publisher: WorkerPublisher,
        connected: asyncio.Event,
        log: LeveledLogger,
    ) -> None:
        self._sender = sender
        self._publisher = publisher
        self._connected = connected
        self._log = log
        self._payload_limit = MAX_MESSAGE_BYTES
        self._send_scheduled = False
        self._unwritten: list[RunOutbox] = []
        self._write_error = ""
        self.set_aside = 0
        """The number of reports that nobody can read, and that stay on this machine."""

    def recover(self, folder: Outbox) -> None:
        """Take over the events that an earlier process did not send."""
        for outbox in folder.recover():
            self._log.info("outbox.recovered", run_id=outbox.lease.run_id)
            if outbox.unreadable:
                self.replace(outbox, outbox.next_seq, outbox.unreadable)
            if outbox.empty:
                outbox.discard()
            else:
                self._sender.add(outbox)
        for reason in folder.unreadable:
            self.set_aside += 1
            self._log.warning("report.set_aside", error=reason[:500])

    def replace(self, outbox: RunOutbox, seq: int, reason: str) -> None:
        """Set aside events that nobody can read, and end their run as exception."""
        if not outbox.is_replaced:
            self.set_aside += 1
            run_id = outbox.lease.run_id
            self._log.warning("report.set_aside", run_id=run_id, error=reason[:500])
        message = f"the events of the run cannot be reported, and are set aside: {reason[:500]}"
        error = StepError(type="ReportRefusedError", message=message)
        event = exception_end(outbox.lease, seq, error)
        outbox.replace(encode_within(event, MAX_MESSAGE_BYTES), seq, reason)

    def limit(self, payload_limit: int | None = None) -> None:
        """Fit the messages to the connection, and to the control plane's limit in bytes."""
        if payload_limit is not None:
            self._payload_limit = payload_limit
        self._sender.max_bytes = self._limit_bytes() - ENVELOPE_BYTES

    def _limit_bytes(self) -> int:
        return min(self._publisher.max_message_bytes, self._payload_limit)

    def schedule(self, outbox: RunOutbox) -> None:
        """Write and send what was added to an outbox, with what else comes in this turn."""
        self._unwritten.append(outbox)
        # Deferred to the next turn of the loop: events that come until then share the message, and
        # those of a run are written at once.
        if not self._send_scheduled:
            self._send_scheduled = True
            asyncio.get_running_loop().call_soon(self._send_scheduled_reports)

    def _send_scheduled_reports(self) -> None:
        self._send_scheduled = False
        outboxes, self._unwritten = self._unwritten, []
        for outbox in outboxes:
            outbox.flush()
            self._report_write_error(outbox.write_error)
        self.send()

    def send(self) -> None:
        """Publish the reports and chunks that are due."""
        if self._sender.empty or not self._connected.is_set():
            return
        now = monotonic_s()
        if reports := self._sender.next(now):
            self._publisher.publish("reports", reports)
        for chunk in self._sender.chunks(now, max(MIN_MESSAGE_BYTES, self._limit_bytes())):
            self._publisher.publish("chunk", chunk, bulk=True)

    def _report_write_error(self, error: str) -> None:
        # Once per change: a full disk concerns every event of every run.
        if error != self._write_error:
            self._write_error = error
            self._log.warning("outbox.unwritable" if error else "outbox.writable", error=error)
