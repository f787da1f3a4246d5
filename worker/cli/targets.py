"""Check of the files that a command writes: none is one that it reads, and each can be written."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import click

from worker.errors import UsageError, cannot_write
from worker.util.path_checks import exists, is_file

_TARGETS = ("output", "page", "junit", "draw", "profile", "coverage")
"""Names of the options whose value is a file that is written, over what was there."""
_PREPARED_TARGETS = {*_TARGETS, "write_cases"} - {"output"}
"""Names of those that are always files: an output can be a folder or a URL."""


def check_targets(context: click.Context) -> None:
    """Raise where a command would overwrite the workflow or recording it reads, or cannot write.

    The input of ``--input`` may be overwritten: `-i state.json -o state.json` goes on from a state.
    """
    sources = [source for source in _sources(context) if exists(source)]
    for param in context.command.params:
        target = context.params.get(param.name or "")
        if not isinstance(target, str | Path):
            continue
        if param.name in _TARGETS and is_file(target):
            _check_overwriting(max(param.opts, key=len), target, sources)
        if param.name in _PREPARED_TARGETS:
            prepare_target(str(target))


def _check_overwriting(option: str, target: str | Path, sources: list[str | Path]) -> None:
    if any(Path(target).samefile(source) for source in sources):
        raise UsageError(f"{option} {target} would overwrite what is read: choose another file")


def _sources(context: click.Context) -> Iterator[str | Path]:
    for param in context.command.params:
        if isinstance(param, click.Argument) or param.name == "workflow_file":
            value = context.params.get(param.name or "")
            values = value if isinstance(value, tuple) else (value,)
            yield from (each for each in values if isinstance(each, str | Path))


def prepare_target(target: str) -> None:
    """Create the folder of a file that is written later, or raise WorkerError if it cannot be."""
    # Before the run: afterwards its requests are made, and its final state would be lost.
    if target != "-":
        path = Path(target)
        try:
            if path.is_dir():
                raise UsageError(f"cannot write {target}: it is a folder")
            path.parent.mkdir(parents=True, exist_ok=True)
            _check_permission(path)
        except OSError as error:
            raise cannot_write(path, error) from error


def _check_permission(path: Path) -> None:
    # A file is replaced whole, which needs its folder alone; a device is written to.
    is_replaced = path.is_file() or not path.exists()
    if not os.access(path.resolve().parent if is_replaced else path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
