"""View of an error: its position in the source with the lines around it."""

from __future__ import annotations

from collections.abc import Iterator

from worker.core.outcome import StepError
from worker.sinks.run_summary import edge_of
from worker.sinks.terminal_text import printable_lines
from worker.util.json import dumps
from worker.view.report.view_model import ErrorView, SourceLine
from worker.workflow.model import Step

# Lines around the failed one, and characters of a minified line.
_BEFORE, _AFTER = 3, 2
_WIDE = 400
_LONG = 20_000


def error_view(error: StepError, step: Step | None) -> ErrorView:
    return ErrorView(
        type=error.type,
        message=error.message[:_LONG],
        place=_place(_located(error), step),
        lines=tuple(_lines(_located(error), step)),
        notes=tuple(_notes(error, step)),
        stack=error.stack[:100],
    )


def _located(error: StepError) -> StepError:
    """Return the first of the error and its causes that has a position, or else the error."""
    # The failure of a job is the cause where a condition then threw.
    located: StepError | None = error
    while located is not None and located.position is None:
        located = located.cause
    return located or error


def _place(error: StepError, step: Step | None) -> str:
    if error.position is None:
        return ""
    name = (step.source_file or step.id) if step else (error.job_id or "")
    return f"{name}:{error.position.line}:{error.position.column}"


def _lines(error: StepError, step: Step | None) -> Iterator[SourceLine]:
    # The workflow file may have changed since the run. Lines around the error are shown only where
    # the source still has the failed line at its place.
    place = error.position
    if place is None:
        return
    source = step.source.rstrip().split("\n") if step else []
    same = 0 < place.line <= len(source) and place.source_line.strip() in source[place.line - 1]
    if not same:
        if place.source_line.strip():
            yield _line(place.line, place.source_line, place.column)
        return
    first, last = max(1, place.line - _BEFORE), min(len(source), place.line + _AFTER)
    for number in range(first, last + 1):
        yield _line(number, source[number - 1], place.column if number == place.line else 0)


def _line(number: int, text: str, caret: int) -> SourceLine:
    # Escapes such as \x202e are longer than the character, so they move the caret. A long line
    # begins near the caret.
    begin = max(0, caret - 1 - _WIDE // 2) if len(text) > _WIDE else 0
    visible = printable_lines(text[begin : begin + _WIDE]).replace("\t", " ")
    ahead = printable_lines(text[begin : max(begin, caret - 1)])
    return SourceLine(number=number, text=visible, caret=len(ahead) + 1 if caret else 0)


def _notes(error: StepError, step: Step | None) -> Iterator[str]:
    if step is not None and (edge := edge_of(error, step)) is not None:
        line = f" (line {edge.position[0]} of the workflow)" if edge.position[0] else ""
        yield f"condition of {edge.id}{line}: {edge.expression[:_LONG]}"
    if error.name not in ("", "Error", error.type):
        yield f"name: {error.name}"
    if error.source not in ("", "runtime"):
        yield f"source: {error.source}"
    if error.details:
        yield f"details: {dumps(dict(error.details))[:_LONG]}"
    cause = error.cause
    while cause is not None:
        yield f"caused by {cause.type}: {cause.message[:_LONG]}"
        cause = cause.cause
