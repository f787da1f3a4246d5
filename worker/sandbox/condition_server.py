"""The process that evaluates conditions, and nothing else: the far side of a ``Judge``."""

from __future__ import annotations

import os
import signal
import socket
from typing import Any

from worker.compiler.compiled_job import CompiledJob
from worker.core.error_json import error_to_dict
from worker.core.outcome import StepError
from worker.sandbox.javascript.engine import Engine
from worker.sandbox.javascript.runtime import JavaScript
from worker.sandbox.protocol import EXIT_OUT_OF_MEMORY, ConditionRequest, Frames, frame
from worker.workflow.model import Edge, Step

CONDITION_SECONDS = 5.0
"""What one step's conditions may take of real time: in a run they share the run's limit."""


def serve(inquiry: ConditionRequest, engine: Engine, channel: socket.socket) -> None:
    """Answer questions until the parent closes the channel."""
    request = inquiry.request
    try:
        engine.limit_memory(request.limits.memory)
        javascript = JavaScript(engine)
        jobs = {id: job for id, job in request.jobs.items() if isinstance(job, CompiledJob)}
        refused = javascript.define(request.plan, jobs, request.conditions)
        channel.sendall(frame({"refused": _error(refused)}))
        steps = {step.id: (step, step.open_edges) for step in request.plan.steps}
        frames = Frames()
        while data := channel.recv(1 << 18):
            for header, state in frames.feed(data):
                channel.sendall(_answer(javascript, engine, steps, header, state))
    except MemoryError:
        os._exit(EXIT_OUT_OF_MEMORY)


def _answer(
    javascript: JavaScript,
    engine: Engine,
    steps: dict[str, tuple[Step, tuple[Edge, ...]]],
    header: dict[str, Any],
    state: str | None,
) -> bytes:
    engine.date = lambda: header["now"]
    if header["seed"] is not None:
        engine.seed(header["seed"])
    # The alarm's default is to end the process, which reaches a condition that never returns.
    signal.setitimer(signal.ITIMER_REAL, CONDITION_SECONDS)
    step, edges = steps[header["step"]]
    if "all" in header:
        every = [javascript.judge(step, edges, state) for state in header["all"]]
        signal.setitimer(signal.ITIMER_REAL, 0)
        return frame({"all": [(one.verdicts, _error(one.error)) for one in every]})
    judged = javascript.judge(step, edges, state)
    signal.setitimer(signal.ITIMER_REAL, 0)
    left = None if judged.state == state else judged.state
    return frame({"verdicts": judged.verdicts, "error": _error(judged.error)}, left)


def _error(error: StepError | None) -> dict[str, Any] | None:
    return None if error is None else error_to_dict(error)
