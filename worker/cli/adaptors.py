"""``worker adaptors``: install real adaptors, list and remove them."""

from __future__ import annotations

import sys
from pathlib import Path

from worker.adaptors import cache
from worker.adaptors.cache import Adaptor
from worker.adaptors.install import install as install_all
from worker.adaptors.names import Specifier, parse, parse_or_none
from worker.errors import UsageError
from worker.sinks.terminal_text import printable
from worker.util.json import dumps
from worker.workflow.load import load, workflow_names
from worker.workflow.model import Language


def install(specifiers: tuple[str, ...], project: Path | None) -> int:
    """Install adaptors by name, or those that a project names."""
    wanted = [parse(text) for text in specifiers]
    if project is not None:
        wanted += [one for one in named_by(project) if one not in wanted]
    if not wanted:
        raise UsageError("expected the names of adaptors, or --project FILE")
    folder = project.parent if project is not None else Path()
    for adaptor in install_all(wanted, folder, _say):
        print(f"✓ {printable(str(adaptor.specifier))}  {_size(adaptor)}")
    return 0


def named_by(project: Path) -> list[Specifier]:
    """The adaptors that a project's JavaScript steps name, each once."""
    names = workflow_names(project) or [None]
    steps = [step for name in names for step in load(project, workflow=name).steps]
    written = [
        parse_or_none(text)
        for step in steps
        if step.language is Language.JAVASCRIPT
        for text in step.adaptors
    ]
    return sorted({one for one in written if one is not None})


def list_installed(*, as_json: bool) -> int:
    """Print what is installed."""
    found = cache.installed()
    if as_json:
        for one in found:
            fields = ("name", "version", "licence", "size", "integrity", "sha256")
            print(dumps({name: getattr(one, name) for name in fields}))
        return 0
    if not found:
        print("no adaptors are installed (worker adaptors install http@latest)")
        return 0
    width = max(len(str(one.specifier)) for one in found)
    for one in found:
        name, licence = printable(str(one.specifier)), printable(one.licence)
        print(f"{name:<{width}}  {_size(one):>9}  {licence}")
    return 0


def remove(specifiers: tuple[str, ...]) -> int:
    """Remove adaptors."""
    for text in specifiers:
        gone = cache.remove(text)
        if not gone:
            raise UsageError(f"the adaptor {printable(text)} is not installed")
        for one in gone:
            print(f"removed {printable(str(one.specifier))}")
    return 0


def _say(text: str) -> None:
    print(printable(text), file=sys.stderr)


def _size(adaptor: Adaptor) -> str:
    return f"{adaptor.size / 1024:,.0f} kB"
