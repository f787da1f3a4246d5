"""The limits of projects: runs under way, runs in a period, concurrent runs of a workflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from worker.errors import UsageError
from worker.workflow.documents.document import read_document


class ProjectLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits of one project; ``None`` means unlimited.

    ``concurrent`` is how many of its runs may be unfinished, ``per_period`` how many are accepted
    in ``period_s`` seconds; orders above that are rejected. ``workflows`` limits, by name, how many
    runs of a workflow are leased at once; further ones wait. ``idempotent`` names the workflows
    whose lost runs are done again, besides those that have this option themselves.
    """

    concurrent: Annotated[int, Meta(ge=0)] | None = None
    per_period: Annotated[int, Meta(ge=0)] | None = None
    period_s: Annotated[float, Meta(gt=0)] = 3600.0
    workflows: Mapping[str, Annotated[int, Meta(ge=0)]] = {}
    idempotent: frozenset[str] = frozenset()


class _PolicyFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    default: ProjectLimits = ProjectLimits()
    projects: dict[str, ProjectLimits] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The limits of all projects; ``default`` applies to those without an entry."""

    default: ProjectLimits = field(default_factory=ProjectLimits)
    projects: Mapping[str, ProjectLimits] = field(default_factory=dict)

    def of(self, project: str) -> ProjectLimits:
        return self.projects.get(project, self.default)

    def concurrency(self, project: str, workflow: str) -> int | None:
        """Return how many runs of a workflow may be leased at once; ``None``: any number."""
        return self.of(project).workflows.get(workflow)


def read_policy(file: Path) -> Policy:
    """Read a policy from YAML or JSON. Raises :class:`UsageError` with file, path and reason."""
    try:
        parsed = msgspec.convert(read_document(file).root, _PolicyFile)
    except msgspec.ValidationError as error:
        raise UsageError(f"{file}: {error}") from error
    return Policy(default=parsed.default, projects=parsed.projects)
