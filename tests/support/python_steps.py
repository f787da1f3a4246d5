"""Python steps in this process: run one, and look at its outcome and its log."""

from __future__ import annotations

import json
import textwrap
from typing import Any

from worker.core.outcome import Outcome, StepError
from worker.sandbox.python.steps import compile_step, run_step

INPUT: dict[str, Any] = {"data": {"n": 1}, "configuration": {"password": "secret"}}


class Run:
    """The outcome of one step, and what it logged."""

    def __init__(self, source: str, state: Any = INPUT, allowed: tuple[str, ...] = ()) -> None:
        self.logs: list[tuple[str, str]] = []
        step = compile_step(textwrap.dedent(source), "job.py", frozenset(allowed))
        text = state if isinstance(state, str) else json.dumps(state)
        self.outcome: Outcome = run_step(step, "a", text, lambda *line: self.logs.append(line))

    @property
    def state(self) -> Any:
        return None if self.outcome.state is None else json.loads(self.outcome.state)

    @property
    def error(self) -> StepError:
        assert self.outcome.error is not None
        return self.outcome.error


def body(*lines: str) -> str:
    """A step of these lines."""
    return "def step(state):\n" + "".join(f"    {line}\n" for line in lines)


def returned(expression: str, imports: str = "") -> Run:
    """The run of a step that returns an expression, which must succeed."""
    run = Run(f"{imports}\ndef step(state):\n    return {expression}\n")
    assert run.outcome.error is None, run.error
    return run
