"""Adaptors that a workflow names and this machine lacks, and which of them may be installed."""

from __future__ import annotations

from collections.abc import Collection

from worker.adaptors.choose import choose_adaptors
from worker.adaptors.names import COMMON, Specifier, package_of, parse_or_none
from worker.errors import UsageError
from worker.workflow.model import Language, Workflow

SCOPE = "@openfn/"


def missing_adaptors(workflow: Workflow) -> list[Specifier]:
    """List the adaptors of the workflow's JavaScript steps that are not installed."""
    chosen = choose_adaptors(workflow)
    texts = {
        text
        for step in workflow.steps
        if step.language is Language.JAVASCRIPT
        for text in step.adaptors
        if text not in chosen
    }
    specifiers = {specifier for text in texts if (specifier := parse_or_none(text)) is not None}
    # The built-in common serves where none is installed.
    return sorted(specifier for specifier in specifiers if specifier.name != COMMON)


def check_allowed(missing: Collection[Specifier], allowed: Collection[str]) -> None:
    """Raise :class:`UsageError` for a package that the file must not have npm fetch."""
    # A workflow can be somebody else's, and a package of any name can run what its author likes.
    names = {package_of(text) for text in allowed}
    for specifier in missing:
        if not specifier.name.startswith(SCOPE) and specifier.name not in names:
            raise UsageError(
                f"--autoinstall installs adaptors of {SCOPE} alone: "
                f"--allow-adaptor {specifier.name} allows this one too"
            )
