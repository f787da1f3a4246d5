"""Admission control: accept or reject one more run of a project. Pure."""

from __future__ import annotations

from worker.fleet.control.entities import ProjectRecord
from worker.fleet.control.policy import ProjectLimits
from worker.util.plural import count_of


def rejection(project: ProjectRecord, limit: ProjectLimits) -> str | None:
    """Return why one more run of a project is rejected; ``None`` where it is accepted."""
    if limit.concurrent is not None and project.unfinished >= limit.concurrent:
        return (
            f"project '{project.name}' has {count_of(project.unfinished, 'run')} under way, "
            f"and its limit is {limit.concurrent}"
        )
    if limit.per_period is not None and project.accepted >= limit.per_period:
        return (
            f"project '{project.name}' has had {count_of(project.accepted, 'run')} in this "
            f"period of {limit.period_s:g} s, and its limit is {limit.per_period}"
        )
    return None
