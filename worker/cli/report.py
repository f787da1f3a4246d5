"""``worker report``: write a run as a page, alone, beside another one or beside its replay."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import click

from worker.cli.files import write_file
from worker.cli.options import PATH, command, option, workflow_file
from worker.cli.progress import progress
from worker.errors import UsageError
from worker.replay.divergence import Divergence
from worker.replay.replayer import Replay, ReplayPart, replay
from worker.runner.pool import Pool
from worker.sinks.terminal_text import one_line, printable
from worker.util.json import dumps
from worker.view.graph.drawing import draw
from worker.view.report.build_run_view import build_run_view
from worker.view.report.compare import comparison_report, find_divergence, single_run_report
from worker.view.report.page import render_page
from worker.view.report.report_source import ReportSource, read_source
from worker.view.report.write import check_suffix
from worker.workflow.load import load
from worker.workflow.model import Workflow

STDOUT = Path("-")


@command()
@click.argument("source", type=PATH, metavar="JOURNAL|RECORDING")
@option("--output", "-o", type=PATH, metavar="FILE|-", default="report.html", show_default=True,
        help="Write the page to FILE.")  # fmt: skip
@option("--profile", type=PATH, metavar="FILE|-",
        help="Write the steps' instructions and times to FILE instead, for "
             "https://www.speedscope.app.")  # fmt: skip
@option("--against", type=PATH, metavar="JOURNAL|RECORDING",
        help="Show this run beside it, with the first difference.")  # fmt: skip
@option("--replay", "replayed", is_flag=True,
        help="Replay the recording and show that run beside it.")  # fmt: skip
@workflow_file("Workflow of the run that a journal holds, or the one to replay.")
def report(
    *,
    source: Path,
    output: Path,
    profile: Path | None = None,
    against: Path | None = None,
    replayed: bool = False,
    workflow_file: Path | None,
    workflow: str | None,
) -> int:
    """Write a run as one HTML page that opens offline.

    It shows the path on the graph, the time of each step, the states and their changes, errors in
    their source, edges that were not taken with the reason, and the log.

    \b
    Examples:
      worker report runs/first.jsonl -o report.html
      worker report run.jsonl --workflow-file project.yaml
      worker report runs/first.jsonl --against runs/second.jsonl
      worker report runs/first.jsonl --replay
      worker report runs/first.jsonl --profile run.speedscope.json

    \b
    Exit code: 0 written, whatever the run's status,
    2 wrong usage or nothing to read.
    """
    if against is not None and replayed:
        raise UsageError("--against and --replay exclude each other: leave one out")
    if profile is not None and (against is not None or replayed):
        raise UsageError("--profile is of one run: leave out --against and --replay")
    check_suffix(output)
    loaded = None if workflow_file is None else load(workflow_file, workflow=workflow)
    if profile is not None:
        from worker.view.report.profile import build_profile

        _write(profile, dumps(build_profile(read_source(source, loaded))))
        return 0
    with progress("drawing the report"):
        text = _text(source, against, replayed, loaded)
    _write(output, text)
    return 0


def _text(source: Path, against: Path | None, replayed: bool, workflow: Workflow | None) -> str:
    before = read_source(source, workflow)
    if replayed:
        now, divergence = _replayed(before, workflow)
        return _compared(before, now, divergence)
    if against is not None:
        now = read_source(against, workflow)
        _check_use(workflow, before, now)
        return _compared(before, now, find_divergence(before, now))
    _check_use(workflow, before)
    view, marks = build_run_view(before)
    return render_page(single_run_report(view), [draw(before.workflow, marks)])


def _check_use(workflow: Workflow | None, *sources: ReportSource) -> None:
    if workflow is not None and all(source.recording is not None for source in sources):
        raise UsageError(
            "a recording holds its own workflow: leave out --workflow-file, or add --replay"
        )


def _compared(before: ReportSource, now: ReportSource, divergence: Divergence | None) -> str:
    first, first_marks = build_run_view(before)
    second, second_marks = build_run_view(now)
    drawings = [draw(before.workflow, first_marks), draw(now.workflow, second_marks)]
    if divergence is None:
        print("no difference", file=sys.stderr)
    else:
        place = f" at '{divergence.step}'" if divergence.step else ""
        difference = f"first difference: {divergence.kind}{place}: {divergence.message}"
        print(one_line(difference, 600), file=sys.stderr)
    return render_page(comparison_report(first, second, divergence), drawings)


def _replayed(
    before: ReportSource, workflow: Workflow | None
) -> tuple[ReportSource, Divergence | None]:
    """Return the replay of a recording, and its first difference."""
    if before.recording is None:
        raise UsageError("only a recording can be replayed (worker run --record FILE makes one)")
    try:
        outcome = asyncio.run(_replay(before, workflow))
    except RecursionError as error:
        message = f"{before.name} cannot be replayed: a state is nested too deeply"
        raise UsageError(message) from error
    now = replace(
        before,
        name=f"replay of {before.name}",
        workflow=workflow or before.workflow,
        events=outcome.result.events,
        damage=tuple(f"did what was recorded of it: {step}" for step in outcome.scripted),
    )
    return now, outcome.divergence


async def _replay(before: ReportSource, workflow: Workflow | None) -> Replay:
    assert before.recording is not None
    async with Pool(size=1) as pool:
        return await replay(pool, before.recording, workflow, ReplayPart())


def _write(output: Path, text: str) -> None:
    content = text.encode()
    if output == STDOUT:
        sys.stdout.buffer.write(content)
        sys.stdout.flush()
        return
    write_file(output, content)
    print(f"wrote {printable(str(output))}")
