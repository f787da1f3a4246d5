"""Admission control: accept or reject one more run of a project. Pure."""

from __future__ import annotations

from dataclasses import replace

from worker.fleet.control.entities import ProjectRecord
from worker.fleet.control.policy import ProjectLimits


def admit(
    project: ProjectRecord, limit: ProjectLimits, now_us: int
) -> tuple[ProjectRecord, str | None]:
    """Count one more run of a project.

    Return the project with the run counted and ``None``, or the project without it and the reason
    for the rejection.
    """
    period_us = int(limit.period_s * 1e6)
    if now_us - project.period_began >= period_us:
        # Aligned to multiples of the period, so that all control planes agree on its start.
        project = replace(project, period_began=now_us - now_us % period_us, accepted=0)
    if limit.concurrent is not None and project.unfinished >= limit.concurrent:
        return project, (
            f"project '{project.name}' has {_runs(project.unfinished)} under way, "
            f"and its limit is {limit.concurrent}"
        )
    if limit.per_period is not None and project.accepted >= limit.per_period:
        return project, (
            f"project '{project.name}' has had {_runs(project.accepted)} in this period of "
            f"{limit.period_s:g} s, and its limit is {limit.per_period}"
        )
    counted = replace(project, unfinished=project.unfinished + 1, accepted=project.accepted + 1)
    return counted, None


def _runs(count: int) -> str:
    return f"{count} run{'' if count == 1 else 's'}"
