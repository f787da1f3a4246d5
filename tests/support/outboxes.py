"""Outboxes of a worker, their files, and reports of their sender."""

from __future__ import annotations

import json
from pathlib import Path

from worker.fleet.messaging.worker_protocol import Ack, Acks, Lease, Reports
from worker.fleet.worker.outbox import Outbox, RunOutbox
from worker.fleet.worker.report_sender import ReportSender


def lease(run_id: str = "r", attempt: int = 1) -> Lease:
    return Lease(run_id=run_id, attempt=attempt, token="token-000001")


def event(seq: int, size: int = 0) -> bytes:
    return json.dumps({"seq": seq, "text": "x" * size}).encode()


def filled(outbox: Outbox, *events: bytes, run_id: str = "r", attempt: int = 1) -> RunOutbox:
    run = outbox.open(lease(run_id, attempt))
    for number, text in enumerate(events):
        run.add(text, last=number == len(events) - 1)
    return run


def files(outbox_folder: Path) -> list[str]:
    return sorted(path.name for path in outbox_folder.glob("*.jsonl"))


def dead_letters(outbox_folder: Path) -> list[str]:
    return files(outbox_folder / "dead-letter")


def acks(number: int, *upto: int, refused: str = "", run_id: str = "r") -> Acks:
    return Acks(
        number=number,
        acks=[Ack(run_id=run_id, attempt=1, upto=one, refused=refused) for one in upto],
    )


def sent(reports: Reports | None) -> list[tuple[str, list[bytes]]]:
    assert reports is not None
    return [(run.lease.run_id, [bytes(raw) for raw in run.events]) for run in reports.runs]


def sender_of(*runs: RunOutbox) -> ReportSender:
    sender = ReportSender()
    for run in runs:
        sender.add(run)
    return sender
