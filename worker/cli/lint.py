"""``worker lint``: find mistakes in workflows."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from worker.cli.cluster_option import choose_executor, cluster
from worker.cli.options import WORKFLOW_PATH, command, option, pick_workflow
from worker.cli.value_types import OneOf
from worker.cli.workflow_files import find_workflow_files
from worker.errors import LoadError
from worker.lint.checks import lint as lint_file
from worker.lint.findings import Finding
from worker.lint.output import FORMATS
from worker.lint.rules import Severity
from worker.sinks.terminal_text import printable
from worker.util.cores import usable_cores
from worker.util.plural import count_of


@command()
@click.argument("files", type=WORKFLOW_PATH, nargs=-1)
@pick_workflow
@option("--format", type=OneOf(["text", "json", "sarif", "github"]), default="text",
        show_default=True, help="Format of the findings.")  # fmt: skip
@option("--fail-on", type=OneOf(["note", "warning", "error"]), default="warning",
        show_default=True, help="Least severity that gives exit code 1.")  # fmt: skip
@cluster
def lint(
    *,
    files: tuple[Path, ...],
    workflow: str | None,
    format: str,
    fail_on: str,
    cluster: str | None,
) -> int:
    """Find mistakes in edges, conditions, adaptors and names.

    A comment with a reason suppresses a finding, on its line or above it:
    # worker-lint: ignore W008 -- the newest is wanted

    FILES are workflows, folders and patterns; cases and other files among them are skipped.
    Without FILES, it is the current folder.

    \b
    Examples:
      worker lint graphs/referral.yaml
      worker lint .
      worker lint graphs/*.yaml
      worker lint . --cluster tcp://scheduler.example.org:8786
      worker lint project.yaml --format sarif > lint.sarif

    \b
    Exit code: 0 no finding of that severity, 1 a finding,
    2 wrong usage or an unreadable file.
    """
    paths = find_workflow_files(files)
    findings, unreadable = _lint_all(paths, workflow, cluster)
    for line in FORMATS[format](findings):
        print(line)
    if format == "text" and not findings and not unreadable:
        print(f"nothing found in {count_of(len(paths), 'file')}")
    for error in unreadable:
        print(f"error: {printable(str(error))}", file=sys.stderr)
    limit = Severity[fail_on.upper()]
    failed = any(finding.rule.severity >= limit for finding in findings)
    return 2 if unreadable else int(failed)


def _lint_all(
    files: Sequence[Path], workflow: str | None, cluster: str | None
) -> tuple[list[Finding], list[LoadError]]:
    """Return the findings of all files, and the errors of those that cannot be read.

    A broken file must not hide what the others have.
    """
    if cluster is not None:
        from worker.cli.lint_cluster import lint_on_cluster

        executor = choose_executor(usable_cores(), cluster)
        return asyncio.run(lint_on_cluster(executor, files, workflow))
    findings: list[Finding] = []
    unreadable: list[LoadError] = []
    for file in files:
        try:
            findings += lint_file(file, workflow)
        except LoadError as error:
            unreadable.append(error)
    return findings, unreadable
