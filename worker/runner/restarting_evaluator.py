"""Evaluator of a workflow's conditions for code without an event loop."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence

from worker.core.machine import EdgesEvaluated
from worker.errors import UsageError
from worker.runner.pool import background, start_evaluator
from worker.runner.prepare import Options, prepare
from worker.sandbox.parent.condition_evaluator import ConditionEvaluator
from worker.util.machine_clock import now_us
from worker.workflow.model import Workflow


class RestartingEvaluator:
    """Evaluator of conditions that starts a new process where the last one ended."""

    def __init__(self, workflow: Workflow, options: Options) -> None:
        self._request = prepare(workflow, {}, options, str(uuid.uuid4()))
        self.plan = self._request.plan
        self._evaluator: ConditionEvaluator | None = None

    def __call__(self, step: str, states: Sequence[str]) -> list[EdgesEvaluated]:
        return self._ready().evaluate_all(step, states)

    def evaluate(self, step: str, state: str, *, cpu_s: float) -> EdgesEvaluated:
        """Evaluate the open edges of a step over one state, within a processor time."""
        return self._ready().evaluate(step, state, now_us=now_us(), seed=None, cpu_s=cpu_s)

    def _ready(self) -> ConditionEvaluator:
        if self._evaluator is None or self._evaluator.closed:
            shared = background()
            call = start_evaluator(shared.pool, self._request)
            self._evaluator = asyncio.run_coroutine_threadsafe(call, shared.loop).result()
            if error := self._evaluator.startup_error():
                raise UsageError(f"the workflow cannot run: {error.message}")
        return self._evaluator

    def close(self) -> None:
        """Release the process."""
        if self._evaluator is not None:
            self._evaluator.close()
