"""From a run to what a report shows of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from worker.core.events import RunComplete, RunLog, StepComplete
from worker.core.status import STATUSES, Status
from worker.sinks.run_summary import summarize
from worker.sinks.terminal_text import format_duration, one_line
from worker.view.graph.drawing import Marks
from worker.view.graph.text import shorten
from worker.view.report.dataclips import EmbeddedDataclips
from worker.view.report.edges import EvaluatedEdge, judged_edges
from worker.view.report.error_view import error_view
from worker.view.report.executions import ReportedExecution, executions_of, logs_of, places_of
from worker.view.report.marks import marks_of
from worker.view.report.sources import SourceListing
from worker.view.report.view_model import EdgeView, ExecutionView, LogView, RunView, StepView
from worker.workflow.model import EdgeKind, Step

_NAME_LIMIT = 300
_SOURCE_LIMIT = 50_000
_LINE_LIMIT = 20_000
_CONDITIONS = {
    EdgeKind.ALWAYS: "always",
    EdgeKind.NEVER: "never",
    EdgeKind.SUCCESS: "on success",
    EdgeKind.FAILURE: "on failure",
}
_INFERRED = (
    "The workflow is not known. The graph shows the steps that ran and where each led; conditions, "
    "and edges that were not followed, are unknown. --workflow-file FILE adds them."
)

_STILL = (
    "In a recording, the clock stands still while a step computes: a step's time is told by the "
    "beginning of the next."
)


def run_view(source: SourceListing) -> tuple[RunView, Marks]:
    """What is shown of a run, and the marks on its graph."""
    executions = executions_of(source.events, stands_still=source.stands_still)
    judged = judged_edges(source.workflow, executions, source.start)
    began = source.events[0].timestamp if source.events else 0
    end = source.end
    clips = EmbeddedDataclips(_texts(source, executions))
    status = end.status if end else Status.RUNNING
    lines = summarize(source.workflow, source.events) if end else [_unfinished()]
    final, no_final = _final(source, end, clips)
    views = _executions(source, executions, judged, clips, began)
    view = RunView(
        name=source.name,
        workflow=source.workflow.name,
        run_id=source.events[0].run_id if source.events else "",
        status=str(status),
        mark=STATUSES[status].mark,
        headline=lines[0],
        verdict=tuple(lines[1:]),
        began=_moment(began),
        span=max([1, *(event.timestamp - began for event in source.events)]),
        notes=tuple(_notes(source)),
        steps=tuple(_step(step, source.known) for step in source.workflow.steps),
        executions=views,
        logs=tuple(_logs(source, executions, began)),
        clips=tuple(clips.kept),
        final=final,
        no_final=no_final,
    )
    return view, marks_of(executions, judged)


def _notes(source: SourceListing) -> Iterator[str]:
    if not source.known:
        yield _INFERRED
    if source.stands_still:
        yield _STILL
    yield from source.damage


def _unfinished() -> str:
    return f"{STATUSES[Status.RUNNING].mark} not ended: the events stop before the run does"


def _moment(timestamp: int) -> str:
    try:
        when = datetime.fromtimestamp(timestamp / 1e6, UTC)
    except (OverflowError, ValueError, OSError):
        return ""
    return when.strftime("%Y-%m-%d %H:%M:%S UTC")


def _name(*names: str) -> str:
    known = (name.strip() for name in names)
    return shorten(next(filter(None, known), "unnamed"), _NAME_LIMIT)


def _step(step: Step, known: bool) -> StepView:
    return StepView(
        id=step.id,
        name=_name(step.name, step.id),
        adaptors=", ".join(step.adaptors),
        file=step.source_file,
        source=step.source[:_SOURCE_LIMIT] if known else "",
    )


# --- states ---------------------------------------------------------------------------------------


def _texts(source: SourceListing, executions: Sequence[ReportedExecution]) -> dict[str, str]:
    """The states by the names that events call them."""
    found: dict[str, str] = {}
    if source.input is not None:
        found |= {
            one.started.input_dataclip_id: source.input.text
            for one in executions
            if one.upstream is None
        }
    for event in source.events:
        if isinstance(event, StepComplete) and event.output_dataclip is not None:
            found[event.output_dataclip_id or event.step_id] = event.output_dataclip.text
        elif isinstance(event, RunComplete) and event.final_state is not None:
            found["final state"] = event.final_state.text
    return found


def _final(
    source: SourceListing, end: RunComplete | None, clips: EmbeddedDataclips
) -> tuple[int | None, str]:
    if end is None:
        return None, "the events stop before the run does"
    if end.withheld:
        return None, "withheld: it is over the payload limit"
    return clips.place("final state"), "the run ended without one"


def _output(complete: StepComplete | None, clips: EmbeddedDataclips) -> int | None:
    if complete is None or complete.output_dataclip is None:
        return None
    return clips.place(complete.output_dataclip_id or complete.step_id)


def _no_output(complete: StepComplete | None) -> str:
    if complete is None:
        return "the events stop before the step ended"
    if complete.withheld:
        return "withheld: it is over the payload limit (the next step received it all the same)"
    if complete.output_dataclip_id is not None:
        return "not known: it could not be read"
    return "the step gave none" if complete.reason == "success" else "the step ended without one"


# --- executions -----------------------------------------------------------------------------------


def _executions(
    source: SourceListing,
    executions: Sequence[ReportedExecution],
    judged: Sequence[EvaluatedEdge],
    clips: EmbeddedDataclips,
    began: int,
) -> tuple[ExecutionView, ...]:
    steps = {step.id: step for step in source.workflow.steps}
    turns = Counter(one.step for one in executions)
    edges: dict[int | None, list[EdgeView]] = defaultdict(list)
    for verdict in judged:
        edges[verdict.execution].append(_edge(verdict))
    seen: Counter[str] = Counter()
    found: list[ExecutionView] = []
    for number, one in enumerate(executions):
        seen[one.step] += 1
        error = one.complete.error if one.complete else None
        found.append(
            ExecutionView(
                step=one.step,
                name=_name(one.started.job_name, one.step),
                turn=seen[one.step],
                turns=turns[one.step],
                status=str(one.status),
                mark=STATUSES[one.status].mark,
                at=max(0, one.started.timestamp - began),
                until=max(0, one.started.timestamp - began) + one.spent,
                began=f"+{format_duration(max(0, one.started.timestamp - began))}",
                took=one.took,
                memory=_memory(one.complete),
                upstream=one.upstream,
                input=clips.place(one.started.input_dataclip_id),
                no_input=_no_input(one),
                output=_output(one.complete, clips),
                no_output=_no_output(one.complete),
                edges=tuple(edges[number]),
                error=error_view(error, steps.get(one.step)) if error else None,
            )
        )
    return tuple(found)


def _memory(complete: StepComplete | None) -> str:
    return f"{complete.mem / 2**20:.0f} MB" if complete and complete.mem else ""


def _no_input(one: ReportedExecution) -> str:
    if one.upstream is None:
        return "not known: a journal does not hold the input of its run (a recording does)"
    return "not known: the step before gave none, or it was withheld"


def _edge(one: EvaluatedEdge) -> EdgeView:
    edge = one.edge
    condition = edge.expression if edge.kind is EdgeKind.EXPRESSION else _CONDITIONS[edge.kind]
    return EdgeView(
        target=edge.target,
        label=edge.label,
        condition=condition[:_LINE_LIMIT],
        fate=str(one.fate),
        why=one.why,
    )


def _logs(
    source: SourceListing, executions: Sequence[ReportedExecution], began: int
) -> Iterator[LogView]:
    places = places_of(executions)
    for line in logs_of(source.events):
        yield _log(line, places.get(line.step_id), began)


def _log(line: RunLog, execution: int | None, began: int) -> LogView:
    cut = len(line.message) > _LINE_LIMIT
    more = f"… ({len(line.message) - _LINE_LIMIT:,} more characters)" if cut else ""
    return LogView(
        at=f"+{format_duration(max(0, line.timestamp - began))}",
        execution=execution,
        step=line.job_id,
        source=line.source,
        level=one_line(line.level, 20),
        message=line.message[:_LINE_LIMIT] + more,
    )
