"""Check of the files that a command writes: none of them may be one that it reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from worker.errors import UsageError
from worker.util.path_checks import exists, is_file

_TARGETS = ("output", "page", "junit", "draw", "profile", "coverage")
"""Names of the options whose value is a file that is written, over what was there."""


def check_targets(context: click.Context) -> None:
    """Raise :class:`UsageError` where a command would overwrite the workflow or recording it reads.

    The input of ``--input`` may be overwritten: `-i state.json -o state.json` goes on from a state.
    """
    sources = [source for source in _sources(context) if exists(source)]
    for param in context.command.params:
        target = context.params.get(param.name or "")
        if param.name not in _TARGETS or not isinstance(target, str | Path) or not is_file(target):
            continue
        if any(Path(target).samefile(source) for source in sources):
            option = max(param.opts, key=len)
            raise UsageError(f"{option} {target} would overwrite what is read: choose another file")


def _sources(context: click.Context) -> Iterator[str | Path]:
    for param in context.command.params:
        if isinstance(param, click.Argument) or param.name == "workflow_file":
            value = context.params.get(param.name or "")
            values = value if isinstance(value, tuple) else (value,)
            yield from (each for each in values if isinstance(each, str | Path))
