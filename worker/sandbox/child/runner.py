"""Runner: executes runs of JavaScript one after the other, each on memory that is its image.

A program is what runs of one workflow share. Its image is the realm with the program's jobs and
conditions compiled, and nothing of them executed. A run begins on the image; after it, the memory
is made the image again, byte for byte, so no run can read anything of another.
"""

from __future__ import annotations

import base64
import functools
import pickle
import socket
import threading
import time
from collections import OrderedDict
from typing import Any

from worker.core.machine import Started, StartFailed
from worker.core.outcome import StepError
from worker.engine.failures import Interrupted
from worker.engine.image import Image
from worker.engine.ticker import Ticker
from worker.sandbox.child.frame_receiver import FrameReceiver
from worker.sandbox.child.sandboxed_run import SandboxedRun, define
from worker.sandbox.confinement.call_rules import Profile
from worker.sandbox.confinement.process import Confinement
from worker.sandbox.javascript.engine import Engine
from worker.sandbox.javascript.runtime import JavaScript
from worker.sandbox.limits import MIB
from worker.sandbox.memory import JAVASCRIPT_SHARE, limit_data, open_figures
from worker.sandbox.protocol import (
    PROGRAMS_DROPPED,
    RUN_STOPPED,
    RUNNER_IDLE,
    FrameSender,
    RunRequest,
)

MAX_IMAGE_BYTES = 64 * MIB
"""What the images of programs may hold beyond the realm; the oldest are dropped."""

MAX_PROGRAMS = 256
DEFINE_BYTES = 1024 * MIB
"""Memory for the compilation of a program, which no run's limit counts."""

DELAY_S = 0.003
"""Time for which events wait for more: those of a short run leave in one write."""


class DelayedSender(FrameSender):
    """Sends frames after a delay, in larger writes."""

    def __init__(self, channel: socket.socket) -> None:
        super().__init__(channel)
        self._sending = threading.Lock()
        self._ticker = Ticker(self._send_late)
        self._armed = False

    def flush(self) -> None:
        """Have what was put so far sent in a few milliseconds, also while a step runs."""
        if not self._armed:
            self._armed = True
            self._ticker.arm(time.monotonic() + DELAY_S)

    def send(self) -> None:
        with self._sending:
            # Before the frames are taken: a frame that is put from here on arms the ticker again.
            self._armed = False
            super().send()

    def _send_late(self) -> None:
        try:
            self.send()
        except OSError:
            # The parent is gone. The main thread notices it where it reads or writes.
            return


class Program:
    """What runs of one workflow share, and its image once it has run."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields
        self.image: Image | None = None
        self.javascript: JavaScript
        self._error: StepError | None = None

    @property
    def image_bytes(self) -> int:
        """What the image holds in memory beyond the realm."""
        return self.image.changed_bytes if self.image else 0

    def load(self, engine: Engine, realm: Image, request: RunRequest) -> StepError | None:
        """Make the engine's memory that of this program; return why the program cannot run."""
        if self.image is None and self._error is None:
            self._define(engine, realm, request)
        if self.image is not None:
            engine.load(self.image)
        return self._error

    def _define(self, engine: Engine, realm: Image, request: RunRequest) -> None:
        engine.load(realm)
        engine.limit_memory(DEFINE_BYTES)
        self.javascript = JavaScript(engine)
        self._error = define(self.javascript, engine, request)
        # A program that does not fit into the realm's spare pages is compiled for each run.
        if self._error is None and engine.instance.memory_bytes == realm.size:
            self.image = engine.instance.snapshot()


class RunnerRun(SandboxedRun):
    """One run on a runner, which ends it when its time is over."""

    def __init__(
        self,
        request: RunRequest,
        program: Program,
        realm: Image,
        engine: Engine,
        receiver: FrameReceiver,
        sender: FrameSender,
    ) -> None:
        super().__init__(request, engine, receiver, sender)
        self._program, self._realm = program, realm
        self._deadline_s = receiver.deadline_s = time.monotonic() + request.limits.timeout_s
        self._used_before = 0

    def prepare(self) -> StepError | None:
        error = self._program.load(self._engine, self._realm, self._request)
        self._javascript = self._program.javascript
        self._used_before = self._engine.limit_memory(self._request.limits.memory_bytes)
        self._connect()
        self._meter()
        return error

    def walk(self, start: Started | StartFailed) -> None:
        """Execute the plan. Raises :class:`Interrupted` when the run's time is over."""
        # Only now: loading may have replaced the instance.
        with self._engine.instance.run_until(self._deadline_s):
            super().walk(start)

    def peak_bytes(self) -> int:
        return self._engine.instance.peak_bytes - self._used_before


class Runner:
    """Serves the requests of one channel."""

    def __init__(self, channel: socket.socket, realm: Image, engine: Engine) -> None:
        self._realm = realm
        self._engine = engine
        self._receiver = FrameReceiver(channel)
        self._sender = DelayedSender(channel)
        self._programs: OrderedDict[str, Program] = OrderedDict()
        self._memory_bytes = 0

    def serve(self) -> None:
        """Serve until the parent closes the channel, which raises ``ConnectionResetError``."""
        while True:
            for header, clip in self._receiver.receive(None):
                # Everything else is a reply to a call whose run is over.
                if "run_id" in header:
                    self._run(header, clip or "{}")
                elif "program" in header:
                    self._add_program(header["program"], clip or "")

    def _run(self, header: dict[str, Any], input: str) -> None:
        key = header["program"]
        program = self._programs[key]
        self._programs.move_to_end(key)
        request = RunRequest(
            run_id=header["run_id"],
            seed=header["seed"],
            input=input,
            **program.fields,
            **_options(header["options"]),
        )
        self._limit_process(request.limits.memory_bytes * JAVASCRIPT_SHARE)
        run = RunnerRun(request, program, self._realm, self._engine, self._receiver, self._sender)
        try:
            run.run()
        except Interrupted:
            memory = self._engine.instance.memory_bytes - self._realm.size
            self._sender.put({"type": RUN_STOPPED, "mem": memory}, None)
        self._receiver.deadline_s = None
        self._sender.send()
        self._engine.restore()
        # With the events of the next run, where that follows at once.
        self._sender.put({"type": RUNNER_IDLE}, None)
        self._sender.flush()

    def _limit_process(self, memory_bytes: int) -> None:
        # Measured only where the limit changes, as it takes some system calls.
        if memory_bytes != self._memory_bytes:
            self._memory_bytes = memory_bytes
            limit_data(memory_bytes)

    def _add_program(self, key: str, text: str) -> None:
        """Add a program, and drop those that ran longest ago while there are too many."""
        held = sum(program.image_bytes for program in self._programs.values())
        dropped = []
        while self._programs and (held > MAX_IMAGE_BYTES or len(self._programs) >= MAX_PROGRAMS):
            oldest, program = self._programs.popitem(last=False)
            held -= program.image_bytes
            # Its last run refers to it in a circle, and an image holds two of the process's files.
            program.image = None
            dropped.append(oldest)
        if dropped:
            # Sent with the first events of the run that follows, so before the next request.
            self._sender.put({"type": PROGRAMS_DROPPED, "programs": dropped}, None)
        self._programs[key] = Program(_unpickled(text))


def serve_runs(
    channel: socket.socket, realm: Image, confinement: Confinement, *, metered: bool
) -> None:
    """Execute runs until the parent closes the channel; a ``metered`` runner counts fuel."""
    # It opens what it reads about this process's pages.
    engine = Engine(realm, metered=metered)
    open_figures()
    # A thread inherits the rules about files that are there when it starts. Those about calls
    # forbid to start one.
    confinement.restrict_files(Profile.JAVASCRIPT)
    runner = Runner(channel, realm, engine)
    engine.runtime.start_ticker()
    confinement.restrict_calls(Profile.JAVASCRIPT)
    runner.serve()


# Most runs of a workflow have the same options, and unpickling costs as much as a short step.
@functools.lru_cache(maxsize=16)
def _options(text: str) -> dict[str, Any]:
    fields: dict[str, Any] = _unpickled(text)
    return fields


def _unpickled(text: str) -> Any:
    # The parent is trusted, and nothing but the parent writes to the channel.
    return pickle.loads(base64.b64decode(text))  # noqa: S301
