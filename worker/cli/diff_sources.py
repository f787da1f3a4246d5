"""Versions of a workflow that ``worker diff`` reads: files, and files in a git revision."""

from __future__ import annotations

import subprocess
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path, PurePosixPath

from msgspec.structs import replace

from worker.errors import LoadError, UsageError
from worker.workflow.load import load
from worker.workflow.model import Workflow


def load_version(source: str, workflow: str | None) -> Workflow:
    """Load ``FILE`` or ``REV:PATH``; a path in a revision is relative to the current folder."""
    revision, colon, path = source.partition(":")
    if Path(source).exists() or not (colon and revision and path):
        return load(source, workflow=workflow)
    with tempfile.TemporaryDirectory() as folder:
        file = _extract(revision, path, Path(folder))
        try:
            return replace(load(file, workflow=workflow), file=source)
        except LoadError as error:
            # The file's own name: the extracted one means nothing to anybody.
            raise UsageError(str(error).replace(str(file), source)) from None


def _extract(revision: str, path: str, folder: Path) -> Path:
    """Extract the file and its folder, as a workflow can name files below it."""
    root = PurePosixPath(_git("rev-parse", "--show-prefix").decode().strip())
    file = root / path
    below = [] if str(file.parent) == "." else ["--", str(file.parent)]
    top = _git("rev-parse", "--show-toplevel").decode().strip()
    archive = _git("-C", top, "archive", "--format=tar", "--end-of-options", revision, *below)
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    extracted = folder / file
    if not extracted.is_file():
        raise UsageError(f"there is no file {path} in the revision {revision}")
    return extracted


def _git(*arguments: str) -> bytes:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)  # noqa: S607
    except OSError as error:
        raise UsageError(f"git cannot be started: {error.strerror}") from error
    if done.returncode:
        message = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise UsageError(f"git: {message}")
    return done.stdout
