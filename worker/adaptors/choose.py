"""Choice of the installed bundle that serves each adaptor of a workflow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from worker.adaptors import cache, lock
from worker.adaptors.cache import Adaptor
from worker.adaptors.lock import LockedVersion
from worker.adaptors.names import COMMON, Specifier, parse_or_none
from worker.errors import UsageError
from worker.workflow.model import Workflow


def choose_adaptors(workflow: Workflow) -> dict[str, Adaptor]:
    """Map the specifiers in a workflow's steps to installed adaptors.

    Adaptors that are not installed are left out: their steps fail when they use them, unless they
    are scripted. Without an installed ``common``, the built-in one serves.
    """
    specifiers = _named(workflow)
    locked = lock.read(Path(workflow.file).parent) if specifiers else {}
    # Looked up in each run, as an adaptor can be installed while a worker runs; but once where a
    # workflow has several texts for it.
    adaptors = {named: _locked(named, locked) for named in dict.fromkeys(n for _, n in specifiers)}
    return {text: adaptor for text, named in specifiers if (adaptor := adaptors[named]) is not None}


def _locked(specifier: Specifier, locked: Mapping[str, LockedVersion]) -> Adaptor | None:
    adaptor = cache.find(lock.resolve(specifier, locked))
    entry = locked.get(str(specifier))
    if adaptor is not None and entry is not None and adaptor.integrity != entry.integrity:
        name = adaptor.specifier
        raise UsageError(
            f"{name}: the installed package is not the one in {lock.NAME} (its integrity differs):"
            f" remove it, and install it again: worker adaptors remove {name}"
        )
    return adaptor


def _named(workflow: Workflow) -> list[tuple[str, Specifier]]:
    texts = {text for names in workflow.adaptor_lists for text in (*names, COMMON)}
    parsed = ((text, parse_or_none(text)) for text in sorted(texts))
    return [(text, specifier) for text, specifier in parsed if specifier is not None]
