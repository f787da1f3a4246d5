"""Choice of the installed bundle that serves each adaptor of a workflow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from worker.adaptors import cache, lock
from worker.adaptors.cache import Adaptor
from worker.adaptors.lock import LockedVersion
from worker.adaptors.names import COMMON, Specifier, parse_or_none
from worker.errors import UsageError
from worker.util.bounded_cache import MAX_KEPT_BYTES, cached_within
from worker.util.identity import Identical
from worker.util.size_in_memory import size_in_memory
from worker.workflow.model import Language, Workflow


def choose_adaptors(workflow: Workflow) -> dict[str, Adaptor]:
    """Map the specifiers in a workflow's steps to installed adaptors.

    Adaptors that are not installed are left out: their steps fail when they use them, unless they
    are scripted. Without an installed ``common``, the built-in one serves.
    """
    specifiers, folder = _named(Identical(workflow))
    locked = lock.read(folder) if specifiers else {}
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


@cached_within(MAX_KEPT_BYTES, lambda named, key: size_in_memory(key.value))
def _named(key: Identical[Workflow]) -> tuple[tuple[tuple[str, Specifier], ...], Path]:
    workflow = key.value
    texts = {
        text
        for step in workflow.steps
        if step.language is Language.JAVASCRIPT and step.source
        for text in (*step.adaptors, COMMON)
    }
    parsed = ((text, parse_or_none(text)) for text in sorted(texts))
    specifiers = tuple((text, specifier) for text, specifier in parsed if specifier is not None)
    return specifiers, Path(workflow.file).parent
