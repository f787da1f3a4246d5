"""``worker lint``: the mistakes in the workflows of some files."""

from __future__ import annotations

from pathlib import Path

from worker.lint.checks import lint as lint_file
from worker.lint.output import FORMATS
from worker.lint.rules import Severity
from worker.sinks.terminal_text import printable


def lint(files: tuple[Path, ...], workflow: str | None, format: str, fail_on: str) -> int:
    """1 where something is found that is at least as bad as ``fail_on``, else 0."""
    found = [one for file in files for one in lint_file(file, workflow)]
    for line in FORMATS[format](found):
        print(printable(line) if format == "text" else line)
    if format == "text" and not found:
        print(f"nothing found in {len(files)} file{'s' if len(files) > 1 else ''}")
    limit = Severity[fail_on.upper()]
    return int(any(one.rule.severity >= limit for one in found))
