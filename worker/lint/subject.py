"""Subject of the linter: a workflow, with its names and conditions from the sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from worker.adaptors.cache import Adaptor
from worker.lint.findings import Finding
from worker.lint.rules import Rule
from worker.workflow.model import Workflow


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Names that a job can use without declaring them: the sandbox's, and the common adaptor's."""

    globals: frozenset[str]
    common: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Result of a condition after its source failed: edge taken or not, or the error thrown."""

    taken: bool
    threw: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Workflow under check, with the results of its conditions by source and expression.

    ``adaptors`` are the installed ones, by the text that steps name them with, and ``shared`` the
    names that the workflow's own global functions export.
    """

    workflow: Workflow
    names: Names
    adaptors: Mapping[str, Adaptor]
    shared: frozenset[str]
    probes: dict[tuple[str, str], Probe]

    def finding(self, rule: Rule, place: tuple[int, int], message: str) -> Finding:
        line, column = place
        return Finding(
            rule=rule, message=message, file=self.workflow.file, line=line, column=column
        )
