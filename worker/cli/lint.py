"""``worker lint``: find mistakes in workflows."""

from __future__ import annotations

from pathlib import Path

import click

from worker.cli.options import PATH, command, option, pick_workflow
from worker.lint.checks import lint as lint_file
from worker.lint.output import FORMATS
from worker.lint.rules import Severity


@command()
@click.argument("files", type=PATH, nargs=-1, required=True)
@pick_workflow
@option("--format", type=click.Choice(["text", "json", "sarif", "github"]), default="text",
        show_default=True, help="Format of the findings.")  # fmt: skip
@option("--fail-on", type=click.Choice(["note", "warning", "error"]), default="warning",
        show_default=True, help="Least severity that gives exit code 1.")  # fmt: skip
def lint(*, files: tuple[Path, ...], workflow: str | None, format: str, fail_on: str) -> int:
    """Find mistakes in edges, conditions, adaptors and names.

    A comment with a reason suppresses a finding, on its line or above it:
    # worker-lint: ignore W008 -- the newest is wanted

    \b
    Examples:
      worker lint graphs/referral.yaml
      worker lint project.yaml --format sarif > lint.sarif

    \b
    Exit code: 0 no finding of that severity, 1 a finding,
    2 wrong usage or an unreadable file.
    """
    findings = [finding for file in files for finding in lint_file(file, workflow)]
    for line in FORMATS[format](findings):
        print(line)
    if format == "text" and not findings:
        print(f"nothing found in {len(files)} file{'s' if len(files) > 1 else ''}")
    limit = Severity[fail_on.upper()]
    return int(any(finding.rule.severity >= limit for finding in findings))
