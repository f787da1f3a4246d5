"""Preparation of a run: the workflow compiled and checked, its limits and credentials resolved."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from worker.adaptors.choose import choose_adaptors
from worker.adaptors.collections.settings import Collections, parse_collections
from worker.compiler.collections_name import uses_collections
from worker.compiler.intl_names import uses_intl
from worker.core.compile_plan import compile_plan
from worker.core.error_json import mask_error
from worker.core.outcome import Position, StepError
from worker.core.plan import Plan
from worker.core.scripted import Script
from worker.errors import PlanError, UsageError
from worker.runner import job_cache
from worker.sandbox.clock import ClockKind
from worker.sandbox.limits import Limits, resolve_limits
from worker.sandbox.protocol import INTL_LIBRARIES, RealmContents, RunRequest
from worker.util.bounded_cache import MAX_KEPT_BYTES, cached_within
from worker.util.identity import Identical
from worker.util.json import dumps
from worker.util.masking import MAX_SECRETS, Mask, collect_input_secrets, collect_secrets
from worker.util.size_in_memory import size_in_memory
from worker.version import VERSION
from worker.workflow.credential_names import split_configuration
from worker.workflow.json_input import encode_object
from worker.workflow.model import Edge, EdgeKind, Language, Step, Workflow

if TYPE_CHECKING:
    from worker.compiler.compiled_job import CompiledJob


# What is larger is compiled beside the other runs: a dense megabyte takes ten seconds.
MAX_QUICK_CHARACTERS = 16 * 1024
# What Python takes for a position or a name, and for a step without its source.
_ENTRY_BYTES, _STEP_BYTES = 256, 2048


class Options(Struct, frozen=True, kw_only=True):
    """Options of a run: its first and last step, its limits, and its credentials.

    Without ``limits``, those of the workflow's file count, or the defaults. ``credentials`` maps
    the names that steps use to the content of the credentials. ``allow_hosts`` lets adaptors make
    requests: each step to the hosts that its credential names, and to these (``HOST[:PORT]`` or
    ``*.DOMAIN``); with ``None``, requests fail. ``modules``
    are Python modules that Python steps may import beyond the safe ones. ``script`` replaces the
    code of some executions by a scripted outcome. ``clock`` is the kind of clock. A virtual one
    begins at ``clock_start_us``, and ``moments_us`` gives the times at which recorded executions
    started, by step and execution; both are in microseconds since the epoch. ``collections`` is a
    folder with a JSON file for each collection, or the URL of the service, whose token is in the
    variable ``WORKER_COLLECTIONS_TOKEN``. ``fuel`` counts the engine's instructions for each step,
    as a limit of fuel does.
    """

    start: str = ""
    end: str = ""
    only: str = ""
    limits: Limits | None = None
    credentials: Mapping[str, Mapping[str, Any]] | None = None
    allow_hosts: tuple[str, ...] | None = None
    allow_python: bool = True
    modules: frozenset[str] = frozenset()
    script: Script = field(default_factory=dict)
    clock: ClockKind = ClockKind.MACHINE
    clock_start_us: int = 0
    moments_us: Mapping[tuple[str, int], int] = field(default_factory=dict)
    collections: str | Path | Collections | None = None
    fuel: bool = False


def limits_for(workflow: Workflow, options: Options) -> Limits:
    """Return the limits of a run with these options. Raises :class:`UsageError`."""
    if options.limits is not None:
        return options.limits
    # Checking the ranges of all limits takes a sixth of the preparation of a run.
    return resolve_limits(workflow.options) if workflow.options else _USUAL_LIMITS


_USUAL_LIMITS = Limits()
VERSIONS = {"worker": VERSION, "python": platform.python_version()}


def check_workflow(workflow: object) -> None:
    """Raise :class:`UsageError` for what is no workflow."""
    if not isinstance(workflow, Workflow):
        kind = type(workflow).__name__
        source = "a dict" if isinstance(workflow, Mapping) else "a path"
        raise UsageError(
            f"expected a Workflow, found a {kind}: worker.load reads one from {source}"
        )


def compiles_long(workflow: object) -> bool:
    """Return True for a workflow whose sources may take more than a tenth of a second."""
    if not isinstance(workflow, Workflow):
        return False
    sizes = (
        len(step.source) + sum(len(edge.expression) for edge in step.edges)
        for step in workflow.steps
    )
    return sum(sizes) + len(workflow.globals) > MAX_QUICK_CHARACTERS


def prepare(
    workflow: Workflow, input: Mapping[str, Any] | None, options: Options, run_id: str
) -> RunRequest:
    """Compile a workflow into the request that is sent to the process of the run.

    Raises :class:`PlanError` if the workflow cannot run, and :class:`UsageError` if the input is
    not a JSON object.
    """
    check_workflow(workflow)
    limits = limits_for(workflow, options)
    compiled = _compiled_workflow(
        Identical(workflow), options.start, options.end, options.only, options.allow_python
    )
    # Before its secrets are collected: an input that is no object has none to look for.
    text_of_input = input_text(input)
    collections = collections_of(workflow, options)
    if options.credentials or collections:
        access = _access(workflow, options.credentials or {}, collections)
    else:
        access = compiled.access
    chosen = choose_adaptors(workflow)
    metered = options.fuel or limits.fuel is not None
    bundles = tuple(sorted({(str(a.specifier), str(a.bundle)) for a in chosen.values()}))
    return RunRequest(
        run_id=run_id,
        seed=seed_of(run_id),
        plan=compiled.plan,
        input=text_of_input,
        limits=limits,
        jobs=compiled.jobs,
        conditions=compiled.conditions,
        shared=compiled.shared,
        permissive=workflow.options.get("permissive_globals") is True,
        redacts_payload=workflow.options.get("payload") == "openfn",
        configurations=access.configurations,
        secrets=_with_secrets_of(input, access.secrets),
        modules=options.modules,
        credentials=access.shared,
        versions=VERSIONS,
        missing=access.missing,
        # Their caller may change them between two runs, and a runner knows options by identity.
        script=dict(options.script),
        clock=_clock(options, metered=metered),
        clock_start_us=options.clock_start_us,
        moments_us=dict(options.moments_us),
        adaptors={written: str(adaptor.specifier) for written, adaptor in chosen.items()},
        realm=RealmContents(bundles, compiled.libraries, metered),
    )


class Access(Struct, frozen=True):
    """Credentials of a run's steps, as JSON text by step id, and what is masked of them.

    ``missing`` are the names of those that are not there, and ``shared`` is merged under each.
    """

    configurations: dict[str, str]
    missing: dict[str, str]
    shared: str
    secrets: tuple[str, ...]


def _access(
    workflow: Workflow,
    credentials: Mapping[str, Mapping[str, Any]],
    collections: Collections | None,
) -> Access:
    resolved, missing = configurations(workflow, credentials)
    # As on OpenFn, which keeps the settings of collections among the workflow's credentials.
    shared = {**workflow.credentials, **(collections.configuration if collections else {})}
    own_secrets = collections.secrets if collections else ()
    return Access(
        configurations={id: json.dumps(dict(value)) for id, value in resolved.items()},
        missing=missing,
        shared=json.dumps(shared),
        secrets=collect_secrets([*secret_configurations(workflow, resolved), *own_secrets]),
    )


def rejection(workflow: Workflow, options: Options, error: PlanError) -> StepError:
    """Return the error of a run whose workflow cannot be compiled, with its secrets masked."""
    position = None
    if error.line:
        position = Position(line=error.line, column=error.column, source_line=error.source_line)
    reason = StepError(
        type=error.type, message=str(error), job_id=error.step or None, position=position
    )
    return mask_error(reason, Mask(_access(workflow, options.credentials or {}, None).secrets).json)


def _with_secrets_of(input: Mapping[str, Any] | None, secrets: tuple[str, ...]) -> tuple[str, ...]:
    if input and "configuration" in input:
        secrets = tuple(dict.fromkeys((*secrets, *collect_input_secrets(input))))
    if len(secrets) > MAX_SECRETS:
        raise PlanError(
            f"more than {MAX_SECRETS:,} secrets in credentials and in the configuration of the "
            "input, with the forms that they are masked in: keep data out of them"
        )
    return secrets


def _clock(options: Options, *, metered: bool) -> ClockKind:
    # A timer that wakes early looks at the machine's clock once more, and that takes instructions.
    if metered and options.clock is ClockKind.MACHINE:
        return ClockKind.RECORDED
    return options.clock


class CompiledWorkflow(Struct, frozen=True):
    """What all runs of a workflow with the same steps share.

    ``access`` is that of runs that get no credentials beyond what the workflow itself has.
    """

    plan: Plan
    jobs: dict[str, Any]
    conditions: dict[str, str]
    libraries: tuple[str, ...]
    shared: CompiledJob | None
    access: Access


def _workflow_bytes(
    compiled: CompiledWorkflow, key: Identical[Workflow], *arguments: object
) -> int:
    # The workflow is kept alive by its key, and most of its plan is its own. Its jobs are counted
    # where they are cached.
    return size_in_memory(key.value) + _STEP_BYTES * len(compiled.plan.steps)


@cached_within(MAX_KEPT_BYTES, _workflow_bytes)
def _compiled_workflow(
    key: Identical[Workflow], start: str, end: str, only: str, allow_python: bool
) -> CompiledWorkflow:
    plan = compile_plan(key.value, start=start, end=end, only=only)
    return CompiledWorkflow(
        plan=plan,
        jobs={step.id: _job(step, allow_python) for step in plan.steps if step.runs_code},
        conditions=dict(_conditions(plan)),
        libraries=INTL_LIBRARIES
        if any(map(uses_intl, (*_scripts(plan), key.value.globals)))
        else (),
        shared=_shared(key.value.globals) if key.value.globals.strip() else None,
        access=_access(key.value, {}, None),
    )


def _shared(source: str) -> CompiledJob:
    """Compile a workflow's global functions; what does not compile crashes the first step."""
    from worker.compiler.compiled_job import CompiledJob

    try:
        return compiled_job(source)
    except PlanError as error:
        return CompiledJob(body=f"$worker.fail({dumps(str(error))})")


def collections_of(workflow: Workflow, options: Options) -> Collections | None:
    """Return the collections that a run gets; ``None`` where it has no job that uses them.

    Raises :class:`UsageError` where their folder or token is missing.
    """
    if options.collections is None or not any(map(_uses_collections, workflow.steps)):
        return None
    return parse_collections(options.collections)


def _uses_collections(step: Step) -> bool:
    return step.language is Language.JAVASCRIPT and uses_collections(step.source)


def seed_of(run_id: str) -> str:
    """Derive the seed of a run's other ids and of its random numbers."""
    # From the run id, so that a replay under the same id gives the same ids and numbers.
    return hashlib.sha256(run_id.encode()).hexdigest()[:32]


def input_text(input: Mapping[str, Any] | None) -> str:
    """Encode an input as JSON text. Raises :class:`UsageError` if it is not a JSON object."""
    return encode_object(input, "input")


def configurations(
    workflow: Workflow, credentials: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, Mapping[str, Any]], dict[str, str]]:
    """Return the credential of each step, and the names of those that are missing, by step id."""
    resolved: dict[str, Mapping[str, Any]] = {}
    missing: dict[str, str] = {}
    for step in workflow.steps:
        name, own = split_configuration(step.configuration)
        if name and name not in credentials:
            missing[step.id] = name
        elif name or own:
            resolved[step.id] = {**(credentials[name] if name else {}), **own}
    return resolved, missing


def secret_configurations(
    workflow: Workflow, resolved: Mapping[str, Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """List all configurations of a run whose secrets are masked; ``resolved`` are the steps'."""
    # No step gets the one of its default state, but it is in recordings and comparisons.
    in_states = (step.state.get("configuration") for step in workflow.steps)
    own = (content for content in in_states if isinstance(content, Mapping))
    return [*resolved.values(), workflow.credentials, *own]


def _conditions(plan: Plan) -> Iterator[tuple[str, str]]:
    for step in plan.steps:
        for edge in step.edges:
            if edge.kind is EdgeKind.EXPRESSION:
                yield edge.expression, _condition(edge)


def _scripts(plan: Plan) -> Iterator[str]:
    """Yield the JavaScript of a plan's jobs and conditions, as it was written."""
    for step in plan.steps:
        if step.runs_code and step.language is Language.JAVASCRIPT:
            yield step.source
        yield from (edge.expression for edge in step.edges if edge.kind is EdgeKind.EXPRESSION)


def _condition(edge: Edge) -> str:
    try:
        return compiled_condition(edge.expression)
    except PlanError as error:
        prefix = f"the condition of {edge.id} does not compile"
        raise error.of_step(edge.source, prefix) from error


def _job(step: Step, allow_python: bool) -> CompiledJob | str:
    if step.language is Language.PYTHON:
        return _python_job(step, allow_python)
    try:
        return compiled_job(step.source)
    except PlanError as error:
        raise error.of_step(step.id, step.source_file or step.id) from error


def _python_job(step: Step, allow_python: bool) -> str:
    from worker.compiler.syntax import encode_source
    from worker.sandbox.python.steps import check_step

    if not allow_python:
        message = (
            f"step '{step.id}' is written in Python, which is not allowed here "
            "(the worker of a fleet needs --allow-python)"
        )
        raise PlanError(message, type="SecurityError", step=step.id)
    # Checked here as well as in the process: a step that is never reached must not hide an error.
    encode_source(step.source, "SyntaxError")
    try:
        check_step(step.source, step.source_file or f"{step.id}.py")
    except PlanError as error:
        raise error.of_step(step.id) from error
    return step.source


def _job_bytes(job: CompiledJob, source: str) -> int:
    texts = len(source) + len(job.body) + sum(map(len, (*job.sites, *job.sites.values())))
    entries = len(job.positions) + len(job.sites) + len(job.free)
    entries += len(job.inferred) + len(job.operations)
    return 4 * texts + _ENTRY_BYTES * (entries + 1)


# Cached because tests and fleets run the same workflow many times, and compiling is the costly part
# of preparing. On disk as well: the parser is imported only for what was never compiled.
@cached_within(MAX_KEPT_BYTES, _job_bytes)
def compiled_job(source: str) -> CompiledJob:
    job = job_cache.read_job(source)
    if job is None:
        from worker.compiler.compile_job import compile_job

        job = compile_job(source)
        job_cache.write_job(source, job)
    return job


@cached_within(
    MAX_KEPT_BYTES, lambda compiled, expression: 4 * len(compiled + expression) + _ENTRY_BYTES
)
def compiled_condition(expression: str) -> str:
    compiled = job_cache.read_condition(expression)
    if compiled is None:
        from worker.compiler.compile_job import compile_condition

        compiled = compile_condition(expression)
        job_cache.write_condition(expression, compiled)
    return compiled
