"""Server for conditions: evaluates those of one plan over states that the parent sends."""

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
from worker.sandbox.protocol import (
    EXIT_OUT_OF_MEMORY,
    READ_BYTES,
    ConditionRequest,
    FrameDecoder,
    decode_object,
    encode_frame,
)
from worker.workflow.model import Edge, Step

CONDITION_TIMEOUT_S = 5.0
"""Real time for one request. In a run, conditions share the time limit of the run."""


def serve_conditions(conditions: ConditionRequest, engine: Engine, channel: socket.socket) -> None:
    """Evaluate conditions until the parent closes the channel."""
    request = conditions.request
    try:
        engine.limit_memory(request.limits.memory_bytes)
        javascript = JavaScript(engine)
        jobs = {id: job for id, job in request.jobs.items() if isinstance(job, CompiledJob)}
        error = javascript.define(request.plan, jobs, request.conditions)
        channel.sendall(encode_frame({"error": _error_field(error)}))
        steps = {step.id: (step, step.open_edges) for step in request.plan.steps}
        decoder = FrameDecoder(decode_object)
        while data := channel.recv(READ_BYTES):
            for header, state in decoder.feed(data):
                channel.sendall(_handle(javascript, engine, steps, header, state))
    except MemoryError:
        os._exit(EXIT_OUT_OF_MEMORY)


def _handle(
    javascript: JavaScript,
    engine: Engine,
    steps: dict[str, tuple[Step, tuple[Edge, ...]]],
    header: dict[str, Any],
    state: str | None,
) -> bytes:
    """Evaluate the conditions that a request names, and encode the reply."""
    engine.date = lambda: header["now_us"]
    if header["seed"] is not None:
        engine.seed(header["seed"])
    step, edges = steps[header["step"]]
    # SIGALRM's default action ends the process. A Python handler would not run while the engine is
    # inside a condition that never returns.
    signal.setitimer(signal.ITIMER_REAL, CONDITION_TIMEOUT_S)
    # Processor time: a short limit of real time would depend on what else the machine does.
    if cpu_s := header.get("cpu_s"):
        signal.setitimer(signal.ITIMER_PROF, cpu_s)
    try:
        if "all" in header:
            results = [javascript.evaluate(step, edges, state) for state in header["all"]]
            return encode_frame(
                {"all": [(result.taken, _error_field(result.error)) for result in results]}
            )
        result = javascript.evaluate(step, edges, state)
        changed = None if result.state == state else result.state
        error = _error_field(result.error)
        return encode_frame({"taken": result.taken, "error": error}, changed)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        if cpu_s:
            signal.setitimer(signal.ITIMER_PROF, 0)


def _error_field(error: StepError | None) -> dict[str, Any] | None:
    return None if error is None else error_to_dict(error)
