"""Builds the view model of a run for the report."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from worker.core.events import RunComplete, RunLog, StepComplete, cost_of
from worker.core.status import STATUSES, Status
from worker.sinks.run_summary import summarize
from worker.sinks.terminal_text import format_cost, format_duration, one_line
from worker.util.utc_time import utc_moment
from worker.view.graph.drawing import Annotations
from worker.view.graph.text import shorten
from worker.view.report.dataclips import EmbeddedDataclips
from worker.view.report.edges import EvaluatedEdge, evaluate_edges
from worker.view.report.error_view import error_view
from worker.view.report.executions import ReportedExecution, executions_of, logs_of, places_of
from worker.view.report.report_source import ReportSource
from worker.view.report.run_annotations import annotate_run
from worker.view.report.view_model import EdgeView, ExecutionView, LogView, RunView, StepView
from worker.workflow.model import EdgeKind, Step

# Limits keep the page usable: a job may log a line of megabytes.
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
    "The workflow is unknown. The graph shows the steps that ran and the edges that were followed; "
    "conditions and edges not taken are unknown. --workflow-file FILE adds them."
)

_FROZEN_CLOCK = (
    "In a recording, the clock does not advance while a step computes: the duration of a step is "
    "measured up to the start of the next."
)


def build_run_view(source: ReportSource) -> tuple[RunView, Annotations]:
    """Build the view of a run, and the annotations of its graph."""
    executions = executions_of(source.events, has_frozen_clock=source.has_frozen_clock)
    evaluated = evaluate_edges(source.workflow, executions, source.start)
    began = source.events[0].timestamp if source.events else 0
    end = source.end
    dataclips = EmbeddedDataclips(_texts(source, executions))
    status = end.status if end else Status.RUNNING
    # The same lines as the terminal shows, so that people recognize the run.
    lines = summarize(source.workflow, source.events) if end else [_unfinished()]
    final, no_final = _final(end, dataclips)
    views = _executions(source, executions, evaluated, dataclips, began)
    view = RunView(
        name=source.name,
        workflow=source.workflow.name,
        run_id=source.events[0].run_id if source.events else "",
        status=str(status),
        mark=STATUSES[status].mark,
        headline=lines[0],
        summary=tuple(lines[1:]),
        began=_moment(began),
        duration_us=max([1, *(event.timestamp - began for event in source.events)]),
        notes=tuple(_notes(source)),
        steps=tuple(_step(step, source.workflow_known) for step in source.workflow.steps),
        executions=views,
        logs=tuple(_logs(source, executions, began)),
        clips=tuple(dataclips.items),
        final=final,
        no_final=no_final,
    )
    return view, annotate_run(source.workflow, executions, evaluated)


def _notes(source: ReportSource) -> Iterator[str]:
    if not source.workflow_known:
        yield _INFERRED
    if source.has_frozen_clock:
        yield _FROZEN_CLOCK
    yield from source.damage


def _unfinished() -> str:
    return f"{STATUSES[Status.RUNNING].mark} not ended: the events stop before the run does"


def _moment(timestamp: int) -> str:
    return utc_moment(timestamp).strftime("%Y-%m-%d %H:%M:%S UTC")


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


def _texts(source: ReportSource, executions: Sequence[ReportedExecution]) -> dict[str, str]:
    """Collect the states by dataclip id."""
    texts: dict[str, str] = {}
    if source.input is not None:
        texts |= {
            execution.started.input_dataclip_id: source.input.text
            for execution in executions
            if execution.upstream is None
        }
    for event in source.events:
        if isinstance(event, StepComplete) and event.output_dataclip is not None:
            texts[event.output_dataclip_id or event.step_id] = event.output_dataclip.text
        elif isinstance(event, RunComplete) and event.final_state is not None:
            texts["final state"] = event.final_state.text
    return texts


def _final(end: RunComplete | None, dataclips: EmbeddedDataclips) -> tuple[int | None, str]:
    if end is None:
        return None, "the events stop before the run does"
    if end.withheld:
        return None, "withheld: it exceeds the payload limit"
    return dataclips.index_of("final state"), "the run ended without one"


def _output(complete: StepComplete | None, dataclips: EmbeddedDataclips) -> int | None:
    if complete is None or complete.output_dataclip is None:
        return None
    return dataclips.index_of(complete.output_dataclip_id or complete.step_id)


def _no_output(complete: StepComplete | None) -> str:
    if complete is None:
        return "the events stop before the step ended"
    if complete.withheld:
        return "withheld: it exceeds the payload limit (the next step still received it)"
    if complete.output_dataclip_id is not None:
        return "unknown: it could not be read"
    return (
        "the step returned none" if complete.reason == "success" else "the step ended without one"
    )


# --- executions -----------------------------------------------------------------------------------


def _executions(
    source: ReportSource,
    executions: Sequence[ReportedExecution],
    evaluated: Sequence[EvaluatedEdge],
    dataclips: EmbeddedDataclips,
    began: int,
) -> tuple[ExecutionView, ...]:
    steps = {step.id: step for step in source.workflow.steps}
    # A step may run several times: after each edge that leads to it.
    turns = Counter(execution.step for execution in executions)
    edges: dict[int | None, list[EdgeView]] = defaultdict(list)
    for edge in evaluated:
        edges[edge.execution].append(_edge(edge))
    seen: Counter[str] = Counter()
    views: list[ExecutionView] = []
    for number, execution in enumerate(executions):
        seen[execution.step] += 1
        error = execution.complete.error if execution.complete else None
        views.append(
            ExecutionView(
                step=execution.step,
                name=_name(execution.started.job_name, execution.step),
                turn=seen[execution.step],
                turns=turns[execution.step],
                status=str(execution.status),
                mark=STATUSES[execution.status].mark,
                start_us=max(0, execution.started.timestamp - began),
                end_us=max(0, execution.started.timestamp - began) + execution.spent,
                began=f"+{format_duration(max(0, execution.started.timestamp - began))}",
                took=execution.took,
                memory=_memory(execution.complete),
                cost=_cost(execution.complete),
                upstream=execution.upstream,
                input=dataclips.index_of(execution.started.input_dataclip_id),
                no_input=_no_input(execution),
                output=_output(execution.complete, dataclips),
                no_output=_no_output(execution.complete),
                edges=tuple(edges[number]),
                error=error_view(error, steps.get(execution.step)) if error else None,
            )
        )
    return tuple(views)


def _memory(complete: StepComplete | None) -> str:
    return f"{complete.mem / 2**20:.0f} MB" if complete and complete.mem else ""


def _cost(complete: StepComplete | None) -> str:
    cost = None if complete is None else cost_of(complete)
    return "" if cost is None else f"{format_cost(cost)} instructions"


# The reason is shown in place of the state: an empty box would look like an empty state.
def _no_input(execution: ReportedExecution) -> str:
    if execution.upstream is None:
        return "unknown: a journal does not contain the input of its run (a recording does)"
    return "unknown: the step before returned none, or it was withheld"


def _edge(evaluated: EvaluatedEdge) -> EdgeView:
    edge = evaluated.edge
    condition = edge.expression if edge.kind is EdgeKind.EXPRESSION else _CONDITIONS[edge.kind]
    return EdgeView(
        target=edge.target,
        label=edge.label,
        condition=condition[:_LINE_LIMIT],
        outcome=str(evaluated.outcome),
        reason=evaluated.reason,
    )


def _logs(
    source: ReportSource, executions: Sequence[ReportedExecution], began: int
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
