"""Writing of a new file of cases."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from worker.cli.files import write_file
from worker.errors import UsageError
from worker.sinks.terminal_text import printable
from worker.testing.case import SUFFIXES
from worker.testing.case_text import dump_cases
from worker.util.plural import count_of


def write_case_file(
    target: Path, build: Callable[[str], Mapping[str, Any]], workflow_file: Path
) -> None:
    """Write cases to a file that does not exist yet, and print their number.

    ``build`` gets the path of the workflow's file, relative to the file of cases.
    """
    if not target.name.endswith(SUFFIXES):
        raise UsageError(f"a file of cases ends in one of {', '.join(SUFFIXES)}, found {target}")
    if target.exists():
        raise UsageError(f"{target} exists already: choose another name, or remove it first")
    content = build(os.path.relpath(workflow_file.resolve(), target.resolve().parent))
    write_file(target, dump_cases(target, content).encode())
    # Stdout is for the findings, which may be JSON or Markdown.
    count = count_of(len(content["cases"]), "case")
    print(f"wrote {count} to {printable(str(target))}\n", file=sys.stderr)
