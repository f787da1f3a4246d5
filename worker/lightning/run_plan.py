"""The plan of a run, as Lightning sends it: its workflow, its limits and what it refers to."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct, field

from worker.errors import WorkerError
from worker.sandbox.limits import Limits
from worker.util.nesting import VALUE_LIMIT, has_more_values
from worker.workflow.limit_ranges import FILE_OPTIONS, MS_PER_S, RANGES


class RunPlanError(WorkerError):
    """The plan is not one of Lightning's."""


class RunDefaults(Struct, frozen=True, kw_only=True):
    """Limits of runs whose plan sets none, and the service of collections, if there is one."""

    limits: Limits = field(default_factory=Limits)
    collections_url: str = ""


class RunPlan(Struct, frozen=True, kw_only=True):
    """Plan of a run. ``document`` is its workflow alone, without what each run has anew.

    ``output_dataclips`` is false where the project keeps no data, ``job_logs`` where the run
    reports no lines of jobs. ``sanitize`` is the policy for objects in these lines.
    """

    document: Mapping[str, Any]
    project_id: str
    dataclip_id: str | None
    credential_ids: tuple[str, ...]
    limits: Limits
    output_dataclips: bool
    job_logs: bool
    sanitize: str
    versions: Mapping[str, list[str]]


def read_run_plan(data: Any, defaults: RunDefaults = RunDefaults()) -> RunPlan:
    """Read a plan.

    Raises :class:`RunPlanError` if a part that the worker itself needs is missing or malformed.
    """
    if not isinstance(data, Mapping) or not isinstance(data.get("jobs"), list):
        raise RunPlanError("expected a plan with a list of jobs")
    jobs = [_job(job) for job in data["jobs"]]
    options = data.get("options") or {}
    if not isinstance(options, Mapping):
        raise RunPlanError("expected options to be an object")
    return RunPlan(
        document=_document(data, jobs),
        project_id=_text(data.get("project_id")),
        dataclip_id=_text(data.get("dataclip_id")) or None,
        credential_ids=tuple(dict.fromkeys(_credential_ids(data["jobs"]))),
        limits=_limits(options, defaults.limits),
        output_dataclips=options.get("output_dataclips") is not False,
        job_logs=options.get("job_log_level") != "none",
        sanitize=_text(options.get("sanitize")) or "none",
        versions=_versions(jobs),
    )


def _document(data: Mapping[str, Any], jobs: list[dict[str, Any]]) -> dict[str, Any]:
    # Neither the ids nor the options of one run: its workflow, and what was compiled of it, then
    # serve all runs of the same workflow.
    fields = ("name", "workflow_name", "triggers", "edges", "starting_node_id", "globals")
    shared = {name: data[name] for name in fields if data.get(name) is not None}
    return {"triggers": [], "edges": [], **shared, "jobs": jobs}


def _job(job: Any) -> dict[str, Any]:
    if not isinstance(job, Mapping):
        raise RunPlanError("expected each job to be an object")
    return {name: value for name, value in job.items() if value is not None}


def _credential_ids(jobs: list[Any]) -> Iterator[str]:
    for job in jobs:
        for name in ("credential_id", "credential"):
            if isinstance(job, Mapping) and isinstance(job.get(name), str):
                yield job[name]
                break


def _limits(options: Mapping[str, Any], defaults: Limits) -> Limits:
    def limit(option: str, default: float) -> float:
        value = options.get(option)
        # Any JSON may stand there; True is an int in Python.
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            return default
        # A value out of range is no reason to lose the run: its nearest is used.
        field = FILE_OPTIONS[option]
        scale = MS_PER_S if option == "run_timeout_ms" else 1
        return max(RANGES[field].minimum, min(value, RANGES[field].maximum * scale) / scale)

    return Limits(
        timeout_s=limit("run_timeout_ms", defaults.timeout_s),
        memory_mb=int(limit("run_memory_limit_mb", defaults.memory_mb)),
        payload_mb=limit("payload_limit_mb", defaults.payload_mb),
        log_payload_mb=limit("log_payload_limit_mb", defaults.log_payload_mb),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _versions(jobs: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the versions of the adaptors, by their names, as ``run:start`` reports them."""
    versions: dict[str, set[str]] = {}
    for job in jobs:
        name, _, version = _text(job.get("adaptor")).rpartition("@")
        if name:
            versions.setdefault(name, set()).add(version)
    return {name: sorted(numbers) for name, numbers in versions.items()}


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:20]} is out of range")
    return number


def read_input(content: bytes) -> dict[str, Any]:
    """Parse a dataclip; ``null``, which is one that was wiped, is an empty state.

    Raises :class:`RunPlanError` if it is not a JSON object.
    """
    # The same limit as that of files.
    if has_more_values(content):
        raise RunPlanError(f"the dataclip has more than {VALUE_LIMIT:,} values")
    try:
        state = json.loads(content, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        raise RunPlanError(f"cannot read the dataclip: {error}") from error
    if state is None:
        return {}
    if not isinstance(state, dict):
        raise RunPlanError(f"expected a JSON object, found {type(state).__name__}")
    return state
