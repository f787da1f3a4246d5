"""Comparison of two runs: pairs of executions, and the first difference."""

from __future__ import annotations

from worker.replay.divergence import Divergence, first_divergence
from worker.view.report.report_source import ReportSource
from worker.view.report.view_model import FirstDifference, ReportView, RunView, TimelineRow


def single_run_report(run: RunView) -> ReportView:
    """Build the report of one run."""
    rows = tuple(TimelineRow(executions=(number,)) for number in range(len(run.executions)))
    return ReportView(runs=(run,), rows=rows, first=None)


def comparison_report(before: RunView, now: RunView, divergence: Divergence | None) -> ReportView:
    """Build the report of two runs with their first difference."""
    rows = _rows(before, now)
    first = None if divergence is None else _first_difference(divergence, before, now, rows)
    return ReportView(runs=(before, now), rows=rows, first=first)


def find_divergence(before: ReportSource, now: ReportSource) -> Divergence | None:
    """Find the first difference, up to the end of the shorter run."""
    partly = before.end is None or now.end is None
    events = now.events
    # Two states may be within the depth that Python parses, and beyond what it compares.
    try:
        return first_divergence(before.events, events, partly=partly, logs_last=True)
    except RecursionError:
        message = "a state is nested too deeply to be compared"
        return Divergence(kind="state", step="", execution=0, message=message)


def _rows(before: RunView, now: RunView) -> tuple[TimelineRow, ...]:
    """Pair executions by step and turn, in the order of the first run.

    An execution of the second run alone follows the one that it followed there.
    """
    index_before = {(each.step, each.turn): index for index, each in enumerate(before.executions)}
    extra: dict[int, list[int]] = {}
    partners: dict[int, int] = {}
    previous = -1
    for index, execution in enumerate(now.executions):
        partner = index_before.get((execution.step, execution.turn))
        if partner is None:
            extra.setdefault(previous, []).append(index)
        else:
            partners[partner] = index
            previous = partner
    rows = [TimelineRow(executions=(None, index)) for index in extra.get(-1, ())]
    for index in range(len(before.executions)):
        rows.append(TimelineRow(executions=(index, partners.get(index))))
        rows += [TimelineRow(executions=(None, other)) for other in extra.get(index, ())]
    return tuple(rows)


def _first_difference(
    divergence: Divergence, before: RunView, now: RunView, rows: tuple[TimelineRow, ...]
) -> FirstDifference:
    wanted = (divergence.step, divergence.execution + 1)
    row = next((n for n, row in enumerate(rows) if wanted in _names(row, before, now)), None)
    again = f", execution {wanted[1]}" if divergence.execution else ""
    place = f" at '{divergence.step}'{again}" if divergence.step else ""
    message = f"{divergence.kind}{place}: {divergence.message}"
    return FirstDifference(message=message, row=row)


def _names(row: TimelineRow, *runs: RunView) -> list[tuple[str, int]]:
    pairs = zip(runs, row.executions, strict=True)
    executions = [run.executions[index] for run, index in pairs if index is not None]
    return [(execution.step, execution.turn) for execution in executions]
