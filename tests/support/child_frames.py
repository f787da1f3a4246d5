"""Frames as the process of a run sends them, for tests in which the process is hostile."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import Any

from worker.sandbox.dataclip import generate_ids
from worker.sandbox.parent.zygote_client import ForkedProcess, ProcessExit
from worker.sandbox.protocol import RunRequest, encode_frame


class ChildFrames:
    """The headers of a right run of a plan with the step ``a`` alone, in their order."""

    def __init__(self, request: RunRequest) -> None:
        self._request = request
        self._seq = 0
        ids = generate_ids(request.seed)
        self.input_id, self.step_id, self.output_id = next(ids), next(ids), next(ids)

    def event(self, type: str, **fields: Any) -> dict[str, Any]:
        """Return the next event."""
        self._seq += 1
        head = {"type": type, "run_id": self._request.run_id, "seq": self._seq - 1, "timestamp": 1}
        return {**head, **fields}

    def run_start(self) -> dict[str, Any]:
        return self.event(
            "run:start", workflow=self._request.plan.name, versions=dict(self._request.versions)
        )

    def step_start(self, execution: int = 0) -> dict[str, Any]:
        return self.event(
            "step:start",
            step_id=self.step_id,
            job_id="a",
            job_name=self._request.plan.step("a").name,
            input_dataclip_id=self.input_id,
            execution=execution,
        )

    def log(self, message: str = "hello") -> dict[str, Any]:
        ids = {"step_id": self.step_id, "job_id": "a"}
        return self.event("run:log", source="JOB", level="info", message=message, **ids)

    def call(self, number: int = 1) -> dict[str, Any]:
        origin = {"step": "a", "execution": 0, "now_us": 0}
        return {"type": "host:call", "kind": "http", "number": number, **origin}

    def step_complete(self) -> dict[str, Any]:
        ids = {"step_id": self.step_id, "job_id": "a", "output_dataclip_id": self.output_id}
        return self.event("step:complete", reason="success", next=[], mem=1, duration=1, **ids)

    def run_complete(self) -> dict[str, Any]:
        ids = {"final_dataclip_id": self.output_id}
        return self.event("run:complete", reason="success", mem=1, duration=1, **ids)

    def whole(self) -> list[tuple[dict[str, Any], str | None]]:
        """Return the headers and bodies of a whole run."""
        return [
            (self.run_start(), None),
            (self.step_start(), None),
            (self.log(), None),
            (self.call(), '{"method":"GET","url":"http://a.test"}'),
            (self.step_complete(), '{"data":{}}'),
            (self.run_complete(), '{"data":{}}'),
        ]


class FakeZygote:
    """Stands in for a zygote: the test writes the frames of the process that it forks."""

    def __init__(self) -> None:
        ours, self.channel = socket.socketpair()
        self.exited: asyncio.Future[ProcessExit] = asyncio.get_running_loop().create_future()
        self.forked = ForkedProcess(name="0", channel=ours, exited=self.exited)
        self.killed: list[str] = []

    def fork(self) -> ForkedProcess:
        return self.forked

    fork_runner = fork

    def kill(self, name: str) -> None:
        self.killed.append(name)
        self.end(ProcessExit(code=-signal.SIGKILL, peak_bytes=0))

    def end(self, process_exit: ProcessExit) -> None:
        if not self.exited.done():
            self.exited.set_result(process_exit)
            self.channel.close()

    def send(self, *headers: dict[str, Any]) -> None:
        self.channel.sendall(b"".join(map(encode_frame, headers)))
