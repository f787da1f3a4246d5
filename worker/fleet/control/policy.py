"""What projects may use: run limits, and how many runs of a workflow go at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from worker.errors import UsageError
from worker.workflow.documents.document import read_document


class Limit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits of one project; ``None`` is no limit.

    ``concurrent`` is how many of its runs may be unfinished, ``per_period`` how many are accepted
    in ``period_s`` seconds: what is over them is rejected. ``workflows`` says, by a workflow's
    name, how many of its runs go at once: the others wait.
    """

    concurrent: Annotated[int, Meta(ge=0)] | None = None
    per_period: Annotated[int, Meta(ge=0)] | None = None
    period_s: Annotated[float, Meta(gt=0)] = 3600.0
    workflows: Mapping[str, Annotated[int, Meta(ge=0)]] = {}


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    default: Limit = Limit()
    projects: dict[str, Limit] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The limits of all projects; ``default`` is for those that are not named."""

    default: Limit = field(default_factory=Limit)
    projects: Mapping[str, Limit] = field(default_factory=dict)

    def of(self, project: str) -> Limit:
        return self.projects.get(project, self.default)

    def concurrency(self, project: str, workflow: str) -> int | None:
        """How many runs of a workflow may be leased at once."""
        return self.of(project).workflows.get(workflow)


def read_policy(file: Path) -> Policy:
    """A policy from YAML or JSON. Raises :class:`UsageError` with the place of what is wrong."""
    try:
        found = msgspec.convert(read_document(file).root, _File)
    except msgspec.ValidationError as error:
        raise UsageError(f"{file}: {error}") from error
    return Policy(default=found.default, projects=found.projects)
