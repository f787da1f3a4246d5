"""Two runs beside each other: the executions that belong together, and the first difference."""

from __future__ import annotations

from worker.replay.divergence import Divergence, first_divergence
from worker.view.report.sources import SourceListing
from worker.view.report.view_model import First, GraphRow, ReportView, RunView


def alone(run: RunView) -> ReportView:
    """One run."""
    rows = tuple(GraphRow(executions=(number,)) for number in range(len(run.executions)))
    return ReportView(runs=(run,), rows=rows, first=None)


def together(before: RunView, now: RunView, divergence: Divergence | None) -> ReportView:
    """Two runs, with their first difference."""
    rows = _rows(before, now)
    first = None if divergence is None else _first(divergence, before, now, rows)
    return ReportView(runs=(before, now), rows=rows, first=first)


def divergence_of(before: SourceListing, now: SourceListing) -> Divergence | None:
    """The first difference, as far as both runs go."""
    partly = before.end is None or now.end is None
    events = now.events
    try:
        return first_divergence(before.events, events, partly=partly)
    except RecursionError:
        message = "a state is nested too deeply to be compared"
        return Divergence(kind="state", step="", execution=0, message=message)


def _rows(before: RunView, now: RunView) -> tuple[GraphRow, ...]:
    """By step and turn, in the order of the first run; what only the second did follows what it
    followed there."""
    there = {(one.step, one.turn): place for place, one in enumerate(before.executions)}
    extra: dict[int, list[int]] = {}
    found: dict[int, int] = {}
    behind = -1
    for place, one in enumerate(now.executions):
        partner = there.get((one.step, one.turn))
        if partner is None:
            extra.setdefault(behind, []).append(place)
        else:
            found[partner] = place
            behind = partner
    rows = [GraphRow(executions=(None, place)) for place in extra.get(-1, ())]
    for place in range(len(before.executions)):
        rows.append(GraphRow(executions=(place, found.get(place))))
        rows += [GraphRow(executions=(None, one)) for one in extra.get(place, ())]
    return tuple(rows)


def _first(
    divergence: Divergence, before: RunView, now: RunView, rows: tuple[GraphRow, ...]
) -> First:
    wanted = (divergence.step, divergence.execution + 1)
    row = next((n for n, row in enumerate(rows) if wanted in _names(row, before, now)), None)
    again = f", execution {wanted[1]}" if divergence.execution else ""
    place = f" at '{divergence.step}'{again}" if divergence.step else ""
    message = f"{divergence.kind}{place}: {divergence.message}"
    return First(message=message, row=row)


def _names(row: GraphRow, *runs: RunView) -> list[tuple[str, int]]:
    pairs = zip(runs, row.executions, strict=True)
    shown = [run.executions[place] for run, place in pairs if place is not None]
    return [(one.step, one.turn) for one in shown]
