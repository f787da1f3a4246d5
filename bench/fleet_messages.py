"""Messages of a client and of a worker, for a control plane in the same process."""

from __future__ import annotations

from typing import Any

import msgspec

from worker.fleet.messaging import messages as wire
from worker.fleet.messaging.bus import Message
from worker.fleet.messaging.client_messages import Submit
from worker.fleet.messaging.topics import Topics
from worker.fleet.messaging.worker_protocol import Lease, Reports, RunReport

TOPICS = Topics()
STEP = {"id": "a", "adaptor": "common", "expression": "fn(s => s)"}
PLAN = msgspec.Raw(msgspec.json.encode({"workflow": {"name": "bench", "steps": [STEP]}}))


def submit(order_id: str, plan: msgspec.Raw = PLAN, **fields: Any) -> Message:
    """Build the request of a client for an order."""
    return request("submit", Submit(order_id=order_id, plan=plan, **fields))


def request(method: str, content: wire.Payload) -> Message:
    """Build a request of a client."""
    return Message(
        topic=TOPICS.request(method), payload=wire.encode(content), reply_to=TOPICS.client("c")
    )


def from_worker(channel: str, content: wire.Payload) -> Message:
    """Build a message of a worker."""
    return Message(topic=TOPICS.worker("w", channel), payload=wire.encode(content))


def report(lease: Lease) -> Message:
    """Build the report of a run of one step that succeeded."""
    types = ("run:start", "step:start", "step:complete", "run:complete")
    step = {"step_id": "1", "job_id": "a"}
    more: dict[str, dict[str, Any]] = {
        "run:start": {"workflow": "bench", "versions": {}},
        "step:start": {**step, "job_name": "a", "execution": 0, "input_dataclip_id": "i"},
        "step:complete": {
            **step,
            "reason": "success",
            "output_dataclip_id": "c",
            "output_dataclip": {},
        },
        "run:complete": {"reason": "success"},
    }
    events = [
        {"type": type, "run_id": lease.run_id, "seq": seq, "timestamp": 1, **more.get(type, {})}
        for seq, type in enumerate(types)
    ]
    raw = [msgspec.Raw(msgspec.json.encode(event)) for event in events]
    runs = [RunReport(lease=lease, events=raw)]
    return from_worker("reports", Reports(number=1, runs=runs))
