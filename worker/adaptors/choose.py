"""Choice of the installed bundle that serves each adaptor of a workflow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from worker.adaptors import cache, lock
from worker.adaptors.cache import Adaptor
from worker.adaptors.names import COMMON, parse_or_none
from worker.workflow.model import Language, Workflow


def choose_adaptors(workflow: Workflow) -> dict[str, Adaptor]:
    """Map the specifiers in a workflow's steps to installed adaptors.

    Adaptors that are not installed are left out: their steps fail when they use them, unless they
    are scripted. Without an installed ``common``, the built-in one serves.
    """
    specifiers = {
        specifier
        for step in workflow.steps
        if step.language is Language.JAVASCRIPT and step.source
        for specifier in (*step.adaptors, COMMON)
    }
    return dict(_installed(sorted(specifiers), Path(workflow.file).parent))


def _installed(specifiers: Iterable[str], folder: Path) -> Iterator[tuple[str, Adaptor]]:
    locked = lock.read(folder)
    for text in specifiers:
        specifier = parse_or_none(text)
        if specifier is None:
            continue
        adaptor = cache.find(str(lock.resolve(specifier, locked)))
        if adaptor is not None:
            yield text, adaptor
