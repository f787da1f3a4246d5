"""Plans and inputs of claimed runs: what an assignment leaves out is fetched in chunks. Pure."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Literal

import msgspec
from msgspec.structs import replace

from worker.fleet.messaging.content import RETRANSMIT_CHUNK_S, ContentDownload
from worker.fleet.messaging.worker_protocol import AssignedRun, Fetch, Fetched
from worker.fleet.worker.claimed_runs import attempt_key
from worker.fleet.worker.report_sender import AttemptKey

MAX_CACHED_PLAN_BYTES = 64 * 1024 * 1024
Part = Literal["plan", "input"]


class PlanCache:
    """The newest plans as JSON, by their ids."""

    def __init__(self, max_bytes: int = MAX_CACHED_PLAN_BYTES) -> None:
        self._plans: OrderedDict[str, msgspec.Raw] = OrderedDict()
        self._max_bytes = max_bytes
        self._bytes = 0

    def get(self, plan_id: str) -> msgspec.Raw | None:
        if plan_id in self._plans:
            self._plans.move_to_end(plan_id)
        return self._plans.get(plan_id)

    def put(self, plan_id: str, plan: msgspec.Raw) -> None:
        if plan_id not in self._plans:
            self._plans[plan_id] = plan
            self._bytes += len(bytes(plan))
        while self._bytes > self._max_bytes and len(self._plans) > 1:
            _, oldest = self._plans.popitem(last=False)
            self._bytes -= len(bytes(oldest))


@dataclass(slots=True)
class _Pending:
    """A run that waits for its plan, its input, or both."""

    run: AssignedRun
    download: ContentDownload = field(default_factory=ContentDownload)
    sent_at: float = -RETRANSMIT_CHUNK_S

    @property
    def part(self) -> Part:
        return "plan" if bytes(self.run.plan) == b"null" else "input"


class RunContents:
    """The runs that wait for contents. Each fetches one chunk at a time."""

    def __init__(self) -> None:
        self.plans = PlanCache()
        self._pending: dict[AttemptKey, _Pending] = {}

    def complete(self, run: AssignedRun) -> AssignedRun | None:
        """Return a run with its plan and input; ``None`` where some of it is fetched first."""
        if bytes(run.plan) != b"null":
            self.plans.put(run.plan_id, run.plan)
        elif (plan := self.plans.get(run.plan_id)) is not None:
            run = replace(run, plan=plan)
        if b"null" not in (bytes(run.plan), bytes(run.input)):
            return run
        self._pending[attempt_key(run.lease)] = _Pending(run)
        return None

    def drop(self, key: AttemptKey) -> None:
        self._pending.pop(key, None)

    def due(self, now: float, *, repeat: bool = False) -> list[Fetch]:
        """Return the requests to send now; with ``repeat`` also those that wait for a response."""
        requests = []
        for pending in self._pending.values():
            if repeat or now - pending.sent_at >= RETRANSMIT_CHUNK_S:
                pending.sent_at = now
                offset = pending.download.offset
                requests.append(Fetch(lease=pending.run.lease, part=pending.part, offset=offset))
        return requests

    def receive(self, fetched: Fetched) -> AssignedRun | None:
        """Handle a chunk. Return the run if it was the last one of what it waited for."""
        key = fetched.run_id, fetched.attempt
        pending = self._pending.get(key)
        if pending is None or fetched.part != pending.part:
            return None
        content = pending.download.add(fetched.chunk)
        # The next chunk is requested at once.
        pending.sent_at = -RETRANSMIT_CHUNK_S
        if content is None:
            return None
        text = msgspec.Raw(content)
        run = replace(pending.run, plan=text) if fetched.part == "plan" else pending.run
        pending.run = run if fetched.part == "plan" else replace(run, input=text)
        if b"null" in (bytes(pending.run.plan), bytes(pending.run.input)):
            return None
        del self._pending[key]
        return self.complete(pending.run)
