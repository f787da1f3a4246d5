"""From a workflow to what a run's process needs: compiled, checked, with its credentials."""

from __future__ import annotations

import functools
import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from worker.adaptors.choose import choose_adaptors
from worker.core.compile_plan import compile_plan
from worker.core.plan import Plan
from worker.core.scripted import Script
from worker.errors import PlanError, UsageError
from worker.sandbox.clock import ClockKind
from worker.sandbox.limits import Limits
from worker.sandbox.protocol import RunRequest
from worker.util.json import dumps
from worker.util.masking import collect_secrets
from worker.version import VERSION
from worker.workflow.model import Edge, EdgeKind, Language, Step, Workflow

if TYPE_CHECKING:
    from worker.compiler.compiled_job import CompiledJob


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to run a workflow: where to start and stop, within what, and with whose credentials.

    ``credentials`` gives the content of the credentials that steps name. ``modules`` are the
    Python modules that Python steps may import beyond the safe ones. ``script`` says which
    executions of which steps do something else than run their code. ``clock`` is the kind of
    clock, ``start_at`` is where a virtual one begins, in microseconds since the epoch, and
    ``moments`` are when the steps of a recording began.
    """

    start: str = ""
    end: str = ""
    only: str = ""
    limits: Limits = field(default_factory=Limits)
    credentials: Mapping[str, Mapping[str, Any]] | None = None
    allow_python: bool = True
    modules: frozenset[str] = frozenset()
    script: Script = field(default_factory=dict)
    clock: ClockKind = ClockKind.MACHINE
    start_at: int = 0
    moments: Mapping[tuple[str, int], int] = field(default_factory=dict)


def limits_of(
    workflow: Workflow,
    *,
    timeout: float | None,
    memory: int | None,
    state_limit: float | None = None,
    payload_limit: float | None = None,
) -> Limits:
    """The limits that were asked for, else the workflow's own, else the defaults."""
    own, standard = workflow.options, Limits()
    own_timeout = _number(own.get("run_timeout_ms"))
    return Limits(
        timeout_s=timeout or (own_timeout * 1000 if own_timeout else standard.timeout_s),
        memory_mb=memory or int(_number(own.get("run_memory_limit_mb")) or standard.memory_mb),
        state_mb=state_limit,
        payload_mb=payload_limit or _number(own.get("payload_limit_mb")) or standard.payload_mb,
    )


def _number(value: Any) -> float | None:
    valid = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    return float(value) if valid else None


VERSIONS = {"worker": VERSION, "python": platform.python_version()}


def prepare(
    workflow: Workflow, input: Mapping[str, Any] | None, options: Options, run_id: str
) -> RunRequest:
    """Compile a workflow into what a run's process needs.

    Raises :class:`PlanError` where the workflow cannot run, and :class:`UsageError` where the
    input is not a JSON object.
    """
    plan = compile_plan(workflow, start=options.start, end=options.end, only=options.only)
    found, missing = configurations(workflow, options.credentials or {})
    chosen = choose_adaptors(workflow)
    return RunRequest(
        run_id=run_id,
        seed=seed_of(run_id),
        plan=plan,
        input=input_text(input),
        limits=options.limits,
        jobs={step.id: _job(step, options) for step in plan.steps if step.runs_code},
        conditions=dict(_conditions(plan)),
        configurations={id: json.dumps(dict(value)) for id, value in found.items()},
        secrets=collect_secrets(found.values()),
        modules=options.modules,
        versions=VERSIONS,
        missing=missing,
        script=options.script,
        clock=options.clock,
        start=options.start_at,
        moments=options.moments,
        adaptors={written: str(one.specifier) for written, one in chosen.items()},
        bundles=tuple(sorted({(str(one.specifier), str(one.bundle)) for one in chosen.values()})),
    )


def seed_of(run_id: str) -> str:
    """What the other ids of a run, and its random numbers, are made from."""
    return hashlib.sha256(run_id.encode()).hexdigest()[:32]


def input_text(input: Mapping[str, Any] | None) -> str:
    """An input as the run reads it. Raises :class:`UsageError` where it is no JSON object."""
    try:
        return dumps(dict(input or {}))
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"the input must be a JSON object: {error}") from error


def configurations(
    workflow: Workflow, credentials: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, Mapping[str, Any]], dict[str, str]]:
    """Each step's credential, and the names of those that nobody gave."""
    found: dict[str, Mapping[str, Any]] = {}
    missing: dict[str, str] = {}
    for step in workflow.steps:
        match step.configuration:
            case None | "":
                continue
            case str(name) if name in credentials:
                found[step.id] = credentials[name]
            case str(name):
                missing[step.id] = name
            case inline:
                found[step.id] = inline
    return found, missing


def _conditions(plan: Plan) -> Iterator[tuple[str, str]]:
    for step in plan.steps:
        for edge in step.edges:
            if edge.kind is EdgeKind.EXPRESSION:
                yield edge.expression, _condition(edge)


def _condition(edge: Edge) -> str:
    try:
        return compiled_condition(edge.expression)
    except PlanError as error:
        message = f"the condition of {edge.id} does not compile: {error}"
        raise PlanError(message, type=error.type) from error


def _job(step: Step, options: Options) -> CompiledJob | str:
    if step.language is Language.PYTHON:
        return _python_job(step, options)
    try:
        return compiled_job(step.source)
    except PlanError as error:
        raise PlanError(f"{step.source_file or step.id}: {error}", type=error.type) from error


def _python_job(step: Step, options: Options) -> str:
    from worker.sandbox.python.steps import check_step

    if not options.allow_python:
        message = f"step '{step.id}' is written in Python, which is refused here"
        raise PlanError(message, type="SecurityError")
    check_step(step.source, step.source_file or f"{step.id}.py")
    return step.source


@functools.lru_cache(maxsize=4096)
def compiled_job(source: str) -> CompiledJob:
    from worker.compiler.compile_job import compile_job

    return compile_job(source)


@functools.lru_cache(maxsize=4096)
def compiled_condition(expression: str) -> str:
    from worker.compiler.compile_job import compile_condition

    return compile_condition(expression)
