"""Check of public projects: what is in a checkout goes through the command, which must not fail.

``python -m tools.projects FOLDER ...``: each folder is one project. Its workflows are linted,
validated, explored and run, its jobs run alone, all without a network. The table has the exit codes
by kind; a defect of the command (exit code 70, a traceback, no answer) is listed, and gives exit
code 1.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from msgspec import Struct

from worker.cli.entry import EXIT_DEFECT
from worker.cli.workflow_files import find_workflow_files
from worker.errors import LoadError, UsageError
from worker.workflow.load import load_all

LIMIT_S: Final = 600
_EXCEPTION: Final = 5
_ABSENT: Final = ("AdaptorError", "CredentialError")
KINDS: Final = ("lint", "validate", "explore", "run", "job")
# A job by its first line, as a folder has other scripts too.
_OPERATION: Final = re.compile(r"^\w+\(", re.MULTILINE)
_DEFECT: Final = re.compile(r"Traceback \(most recent call last\)|a defect in worker")
_NAMED_ERROR: Final = re.compile(r"^\s*(\w+Error)\b", re.MULTILINE)


class Call(Struct, frozen=True, kw_only=True):
    """A call of the command for a project."""

    kind: str
    arguments: tuple[str, ...]


class Answer(Struct, frozen=True, kw_only=True):
    """What a call did: its exit code, the error that it named, and its output if that is wrong."""

    call: Call
    code: int
    error: str = ""
    defect: str = ""


def calls_of(folder: Path, scratch: Path) -> Iterator[Call]:
    """Yield the calls for a checkout."""
    yield Call(kind="lint", arguments=("lint", str(folder)))
    yield Call(kind="validate", arguments=("validate", str(folder)))
    state = scratch / "state.json"
    state.write_text(json.dumps({"data": {"items": [{"id": 1}], "name": "Ama"}}), "utf-8")
    for file, name in _workflows(folder):
        picked = (str(file), *(("--workflow", name) if name else ()))
        yield Call(kind="explore", arguments=("explore", *picked, "--limit", "200", "-j", "1"))
        yield Call(kind="run", arguments=("run", *picked, "-i", str(state), "--timeout", "20"))
    for file in _jobs(folder):
        job = ("run", str(file), "-a", "common", "-i", str(state), "--timeout", "20")
        yield Call(kind="job", arguments=job)


def _workflows(folder: Path) -> Iterator[tuple[Path, str]]:
    try:
        files = find_workflow_files([folder])
    except UsageError:
        return
    for file in files:
        try:
            names = [workflow.name for workflow in load_all(file)]
        except LoadError:
            names = []
        yield from ((file, name) for name in (names if len(names) > 1 else [""]))


def _jobs(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.rglob("*.js")):
        is_own = "node_modules" not in file.parts and file.is_file()
        if is_own and _OPERATION.search(file.read_text("utf-8", "replace")):
            yield file


def answer(call: Call) -> Answer:
    """Run a call, and judge what it did."""
    command = [sys.executable, "-m", "worker", *call.arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Answer(call=call, code=-1, defect=f"no answer in {LIMIT_S} s")
    output = done.stdout + done.stderr
    is_wrong = done.returncode == EXIT_DEFECT or _DEFECT.search(output) or done.returncode < 0
    named = _NAMED_ERROR.search(output) if call.kind in ("run", "job") else None
    error = named[1] if named and done.returncode else ""
    # An exception is the worker's own fault, unless something is not installed or not there.
    is_wrong = is_wrong or (done.returncode == _EXCEPTION and error not in _ABSENT)
    return Answer(
        call=call,
        code=done.returncode,
        error=error,
        defect=output[-2000:] if is_wrong else "",
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.projects", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="checkouts, one project each")
    parser.add_argument("--jobs", type=int, default=2, help="calls at once (default: 2)")
    arguments = parser.parse_args()
    answers: list[Answer] = []
    print(f"{'project':<38}" + "".join(f"{kind:>10}" for kind in KINDS))
    for folder in arguments.folders:
        with TemporaryDirectory() as scratch, ThreadPoolExecutor(arguments.jobs) as pool:
            given = list(pool.map(answer, calls_of(folder, Path(scratch))))
        counts = Counter(each.call.kind for each in given)
        print(f"{folder.name[:37]:<38}" + "".join(f"{counts[kind]:>10,}" for kind in KINDS))
        answers += given
    return _summary(answers)


def _summary(answers: Iterable[Answer]) -> int:
    endings = Counter((a.call.kind, a.code, a.error) for a in answers)
    for (kind, code, error), count in sorted(endings.items()):
        print(f"{kind:<10} exit {code:>3}  {error:<22} {count:>5,}")
    defects = [a for a in answers if a.defect]
    for a in defects:
        print(f"--- worker {' '.join(a.call.arguments)}: exit {a.code}\n{a.defect}")
    print(f"{len(defects)} defects in {sum(endings.values()):,} calls")
    return int(bool(defects))


if __name__ == "__main__":
    sys.exit(main())
