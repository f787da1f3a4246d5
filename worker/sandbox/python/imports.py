"""Imports of the modules that Python steps name, before their process is confined.

Some modules load libraries of the system, which a confined process may not open. Only modules that
steps may import anyway are imported, and no code of a step is executed.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Iterable, Iterator

from worker.sandbox.python.guard import is_allowed

_IMPORT = re.compile(r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import\b|import[ \t]+(.+))", re.MULTILINE)
_NAME = re.compile(r"[\w.]+")


def import_ahead(jobs: Iterable[object], allowed: frozenset[str]) -> None:
    """Import what the Python steps among ``jobs`` name and may import."""
    sources = (job for job in jobs if isinstance(job, str))
    for name in {name for source in sources for name in named_modules(source)}:
        if is_allowed(name, allowed):
            # A step gets the same error again where it imports the module.
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def named_modules(source: str) -> Iterator[str]:
    """Yield the names of modules in the import statements of a source, and some that are not."""
    # A regular expression, as parsing takes a tenth of the time of a run.
    for match in _IMPORT.finditer(source):
        if match[1]:
            yield match[1]
            continue
        for part in match[2].split(","):
            if name := _NAME.match(part.strip()):
                yield name[0]
