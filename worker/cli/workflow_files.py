"""Files of workflows that a command reads: files, folders and patterns, as people mix them."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from worker.errors import LoadError, UsageError
from worker.workflow.checkout import is_workflow
from worker.workflow.documents.document import read_document, read_text

_SUFFIXES = (".yaml", ".yml", ".json")
_SKIPPED_FOLDERS = ("node_modules", "__pycache__")
# A broken file with such a key, and no text as its value, may be a workflow: to skip it would hide
# the error.
_WORKFLOW_KEY = re.compile(
    r"""(?:^|[{,])[ \t]*["']?(?:workflows?|steps|jobs)["']?[ \t]*:[ \t]*(?![ \t\w"'])""",
    re.MULTILINE,
)


def find_workflow_files(paths: Sequence[Path]) -> list[Path]:
    """Return the workflow files among these files, folders and patterns; none is this folder.

    Cases, inputs and other files are skipped, unless a single file is named. Raises
    :class:`UsageError` where nothing is left.
    """
    paths = paths or (Path(),)
    if len(paths) == 1 and not paths[0].is_dir() and not _matches(paths[0]):
        return [*paths]
    candidates = dict.fromkeys(file for path in paths for file in _candidates(path))
    files = [file for file in candidates if _is_workflow_file(file)]
    if not files:
        listed = ", ".join(map(str, paths))
        raise UsageError(f"{listed}: there are no workflows")
    return files


def _candidates(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(_files_below(path))
    elif matches := _matches(path):
        for match in matches:
            yield from _candidates(match)
    else:
        yield path


def _matches(path: Path) -> list[Path]:
    """Return what a pattern matches, if it is one: shells leave some to the command."""
    if path.exists() or not glob.has_magic(str(path)):
        return []
    # Path.glob takes no absolute pattern.
    matches = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207
    return [match for match in matches if not set(match.parts) & set(_SKIPPED_FOLDERS)]


def _files_below(folder: Path) -> Iterator[Path]:
    for child in folder.iterdir():
        if child.name.startswith(".") or child.name in _SKIPPED_FOLDERS:
            continue
        if child.is_dir():
            # Two links to the folder itself are 2^40 folders.
            if child.is_symlink():
                continue
            yield from _files_below(child)
        # A deploy state repeats the project beside it, as it was when it was deployed.
        elif child.suffix in _SUFFIXES and not child.name.endswith("-state.json"):
            yield child


def _is_workflow_file(file: Path) -> bool:
    if ".cases." in file.name:
        return False
    # A path that does not exist is an error of its own.
    if file.suffix not in _SUFFIXES or not file.is_file():
        return not file.exists()
    try:
        return is_workflow(read_document(file).root)
    except LoadError:
        return _may_be_workflow(file)


def _may_be_workflow(file: Path) -> bool:
    try:
        return _WORKFLOW_KEY.search(read_text(file)) is not None
    except LoadError:
        # Nobody can tell. Its error belongs to it alone, and not to all files of the folder.
        return True
