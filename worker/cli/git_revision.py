"""Files of a revision of git, extracted with those beside them."""

from __future__ import annotations

import subprocess
import tarfile
from io import BytesIO
from pathlib import Path, PurePosixPath
from posixpath import normpath

from worker.errors import UsageError


def extract(revision: str, path: str, folder: Path) -> Path:
    """Extract the file and its folder, as a workflow can name files below it."""
    folder_of_caller = PurePosixPath(_git("rev-parse", "--show-prefix").decode().strip())
    # From the current folder, as the shell completes it; else from the root, as git reads it.
    file = PurePosixPath(normpath(folder_of_caller / path))
    if not _has(revision, file):
        file = PurePosixPath(normpath(path))
    below = [] if str(file.parent) == "." else [str(file.parent)]
    top = _git("rev-parse", "--show-toplevel").decode().strip()
    archive = _git("-C", top, "archive", "--format=tar", "--end-of-options", revision, *below)
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        files.extractall(folder, filter=_inside)  # noqa: S202
    extracted = folder / file
    if not extracted.is_file():
        raise UsageError(f"there is no file {path} in the revision {revision}")
    return extracted


def _has(revision: str, file: PurePosixPath) -> bool:
    # With --end-of-options, a revision that looks like an option is none.
    entries = _git("ls-tree", "--full-tree", "--end-of-options", revision, "--", str(file))
    return bool(entries)


def _inside(member: tarfile.TarInfo, folder: str) -> tarfile.TarInfo | None:
    """Drop links that lead out of the folder, and devices: no workflow needs one."""
    try:
        return tarfile.data_filter(member, folder)
    except tarfile.FilterError:
        return None


def _git(*arguments: str) -> bytes:
    # A folder of a checkout can look like a repository, whose settings name commands to execute.
    command = ["git", "-c", "safe.bareRepository=explicit", "-c", "core.fsmonitor=false"]
    try:
        done = subprocess.run([*command, *arguments], capture_output=True, check=False)
    except OSError as error:
        raise UsageError(f"git cannot be started: {error.strerror}") from error
    if done.returncode:
        message = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise UsageError(f"git: {message}")
    return done.stdout
