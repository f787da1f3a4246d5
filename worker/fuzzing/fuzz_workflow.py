"""Generated inputs for tests in Python."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from worker.core.scripted import Script
from worker.errors import UsageError
from worker.fuzzing.campaign import Budget, CampaignResult, run_campaign
from worker.sandbox.limits import Limits, resolve_limits
from worker.testing.case import Case, Expectation
from worker.workflow.model import Workflow

LONGEST_RUN_S = 5.0
"""Longest time limit of a run: one that never ends would use up the time of all others."""


def fuzz_workflow(
    workflow: Workflow,
    samples: Sequence[Mapping[str, Any]],
    *,
    seconds: float = 10.0,
    inputs: int | None = None,
    seed: int = 0,
    jobs: int = 1,
    script: Script | None = None,
    limits: Limits | None = None,
) -> CampaignResult:
    """Run inputs like the samples and just beside them, from code without an event loop.

    The campaign ends after ``seconds``, or after so many ``inputs``; they are the same for a
    ``seed``. ``script`` replaces the code of steps, such as those that make requests. Raises
    :class:`UsageError` for no samples.
    """
    if not samples:
        raise UsageError("samples: expected at least one input")
    template = Case(
        name="fuzz",
        workflow=workflow,
        input={},
        script=script or {},
        expect=Expectation(),
        limits=_limits(workflow, limits),
        start_at="",
        stop_after="",
    )
    budget = Budget(seconds=seconds, inputs=inputs)
    return asyncio.run(
        run_campaign(template, [dict(s) for s in samples], budget, seed=seed, jobs=jobs)
    )


def _limits(workflow: Workflow, limits: Limits | None) -> Limits:
    chosen = limits or resolve_limits(workflow.options)
    return replace(chosen, timeout_s=min(chosen.timeout_s, LONGEST_RUN_S))
