"""Which bundle serves which adaptor of a workflow."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from worker.adaptors import cache, lock
from worker.adaptors.cache import Adaptor
from worker.adaptors.names import COMMON, parsed
from worker.workflow.model import Language, Workflow


def choose(workflow: Workflow) -> dict[str, Adaptor]:
    """By specifier as the steps have it, what is installed.

    What is missing is left out: its steps fail when they use it, unless they are scripted. The
    built-in ``common`` serves where no real one is installed.
    """
    written = {
        specifier
        for step in workflow.steps
        if step.language is Language.JAVASCRIPT and step.source
        for specifier in (*step.adaptors, COMMON)
    }
    return dict(_found(sorted(written), Path(workflow.file).parent))


def _found(written: Iterable[str], folder: Path) -> Iterable[tuple[str, Adaptor]]:
    locked = lock.read(folder)
    for text in written:
        specifier = parsed(text)
        found = None if specifier is None else cache.find(str(lock.resolve(specifier, locked)))
        if found is not None:
            yield text, found
