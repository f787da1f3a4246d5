"""``worker explore``: list all paths of a workflow and check properties of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from worker.cli.cluster_option import choose_executor, cluster
from worker.cli.options import (
    PATH,
    WORKFLOW_PATH,
    command,
    jobs,
    option,
    pick_workflow,
    start_at,
    stop_after,
    write_cases,
)
from worker.cli.parallel_exploration import ParallelExploration
from worker.cli.progress import progress
from worker.cli.text_table import table_lines, terminal_width
from worker.cli.value_types import WholeNumberRange
from worker.cli.write_case_file import write_case_file
from worker.errors import UsageError
from worker.explore.explorer import (
    Choice,
    DecisionTable,
    Ending,
    ExploredRun,
    Explorer,
    count_runs,
)
from worker.explore.export_cases import case_file, describe_run
from worker.explore.properties import PropertyResult, parse_property
from worker.runner.prepare import Options
from worker.runner.restarting_evaluator import RestartingEvaluator
from worker.sinks.terminal_text import NO_LIMIT, one_line, printable
from worker.util.json import dumps
from worker.util.plural import count_of
from worker.workflow.documents.data import describe
from worker.workflow.documents.document import parse_json, read_text
from worker.workflow.load import load
from worker.workflow.model import Workflow
from worker.workflow.step_names import find_step


@command()
@click.argument("file", type=WORKFLOW_PATH)
@pick_workflow
@option("--input", "-i", "input_file", type=PATH, metavar="FILE",
        help="Input state, as JSON; what it decides is not varied.")  # fmt: skip
@start_at("--start")
@stop_after("--end")
@option("--ask", "questions", multiple=True, metavar="SENTENCE",
        help="Search all combinations for a run that contradicts this sentence.")  # fmt: skip
@option("--all", "everything", is_flag=True,
        help="Show every combination, not only those that differ.")  # fmt: skip
@option("--aborts", is_flag=True, help="Show the rows in which a step ends the run.")
@option("--limit", type=WholeNumberRange(min=1), default=10_000, show_default=True, metavar="N",
        help="Maximum number of rows.")  # fmt: skip
@jobs
@cluster
@write_cases(help="Write the rows to FILE as cases for worker test.")
@option("--json", "as_json", is_flag=True, help="Print rows and answers as JSON, one a line.")
def explore(
    *,
    file: Path,
    workflow: str | None,
    input_file: Path | None,
    start_at: str,
    stop_after: str,
    questions: tuple[str, ...],
    everything: bool,
    aborts: bool,
    limit: int,
    jobs: int,
    cluster: str | None,
    write_cases: Path | None,
    as_json: bool,
) -> int:
    """List all paths of a workflow without running its steps.

    Each step succeeds, fails, crashes or is killed; each condition has every value that some state
    gives it. A sentence has one of these forms:

    \b
      no failure of STEP goes unhandled      no failure goes unhandled
      STEP always runs                       STEP never runs
      STEP always runs after STEP [succeeds|fails]
      STEP never runs after STEP [succeeds|fails]
      never both STEP and STEP

    \b
    Examples:
      worker explore graphs/referral.yaml
      worker explore graphs/referral.yaml --ask "no failure goes unhandled"
      worker explore graphs/router.yaml --write-cases router.cases.yaml
      worker explore graphs/triage.yaml --ask "triage always runs" --jobs 1
      worker explore graphs/triage.yaml --all --cluster tcp://scheduler.example.org:8786

    \b
    Exit code: 0 every sentence holds, 1 one does not,
    2 wrong usage or an unreadable file.
    """
    explored = load(file, workflow=workflow)
    properties = [
        parse_property(text, tuple(step.id for step in explored.steps)) for text in questions
    ]
    options = Options(
        start=find_step(explored, start_at, "--start-at"),
        end=find_step(explored, stop_after, "--stop-after"),
    )
    with closing(RestartingEvaluator(explored, options)) as evaluator:
        explorer = Explorer(plan=evaluator.plan, evaluate=evaluator, input=_input(input_file))
        parallel = ParallelExploration(
            workflow=explored,
            options=options,
            jobs=jobs,
            cluster=None if cluster is None else choose_executor(jobs, cluster),
        )
        with progress("exploring"):
            parallel.search_ahead(explorer)
            rows = parallel.table(explorer, everything=everything, limit=limit)
            results = parallel.check(explorer, properties)
        if write_cases is not None:
            _write(write_cases, file, explored, rows, workflow, explorer.input)
        lines = _as_json(rows, results) if as_json else _as_text(explorer, rows, results, aborts)
        for line in lines:
            print(line)
    return int(any(not result.holds for result in results))


def _input(file: Path | None) -> str | None:
    if file is None:
        return None
    state = parse_json(read_text(file), str(file))
    if not isinstance(state, dict):
        expected = 'a JSON object, such as {"data": {}}'
        raise UsageError(f"{file}: expected {expected}, found {describe(state)}")
    return dumps(state)


# --- as text --------------------------------------------------------------------------------------


def _as_text(
    explorer: Explorer, rows: DecisionTable, results: list[PropertyResult], aborts: bool
) -> Iterator[str]:
    hidden = [row for row in rows.rows if _is_abort(row) and not aborts]
    visible = [row for row in rows.rows if aborts or not _is_abort(row)]
    yield from _table(visible)
    if visible:
        yield ""
    if hidden and not visible:
        yield (
            "every run ends at a step that crashes or is killed, or at a condition that throws "
            "(--aborts shows the rows)"
        )
    elif hidden:
        yield (
            f"{count_of(len(hidden), 'more row')} in which a step crashes or is killed, or a "
            "condition throws: the run ends there (--aborts shows them)"
        )
    yield from _summary(explorer, rows)
    for result in results:
        yield ""
        yield from _result(result)


def _is_abort(row: ExploredRun) -> bool:
    return bool(row.choices) and row.choices[-1].aborts


def _table(rows: Sequence[ExploredRun]) -> Iterator[str]:
    if not rows:
        return
    # Cut texts would make rows look alike that differ.
    cells = [
        (
            str(number),
            one_line(describe_run(row), NO_LIMIT),
            row.status.value,
            one_line(" → ".join(row.steps) or "(no step)", NO_LIMIT),
        )
        for number, row in enumerate(rows, start=1)
    ]
    yield from table_lines([("", "when", "status", "path"), *cells], terminal_width())


def _summary(explorer: Explorer, rows: DecisionTable) -> Iterator[str]:
    runs = count_runs(explorer)
    total = "more runs than were counted" if runs is None else count_of(runs, "run")
    verb = "covers" if len(rows.rows) == 1 else "cover"
    yield f"{count_of(len(rows.rows), 'row')} {verb} {total}"
    for reason, number in rows.pruned.items():
        yield f"not listed: {count_of(number, 'continuation')} ({reason})"
    for reason in explorer.pruned:
        yield f"not possible: {one_line(reason, NO_LIMIT)}"


def _result(result: PropertyResult) -> Iterator[str]:
    text = printable(result.text)
    if result.counterexample is not None:
        yield f"✗ {text}"
        yield f"    against it: {one_line(describe_run(result.counterexample))}"
        yield f"    path: {printable(' → '.join(result.counterexample.steps))}"
        yield f"    status: {result.counterexample.status.value}"
        for choice in result.counterexample.choices:
            if choice.witness is not None:
                yield f"    with {choice.step} {_gives(choice)} {one_line(choice.witness, 200)}"
    elif result.complete:
        yield f"✓ {text} ({result.situations:,} situations)"
    else:
        count = f"{result.situations:,}"
        yield f"? {text}: nothing against it in {count} situations, and there are more"


def _gives(choice: Choice) -> str:
    return "passing on" if choice.ending is Ending.FAILS else "giving"


# --- as data --------------------------------------------------------------------------------------


def _as_json(rows: DecisionTable, results: list[PropertyResult]) -> Iterator[str]:
    for row in rows.rows:
        yield dumps({"type": "row", **_row(row)})
    for result in results:
        counterexample = _row(result.counterexample) if result.counterexample else None
        yield dumps(
            {
                "type": "answer",
                "question": result.text,
                "holds": result.holds,
                "complete": result.complete,
                "situations": result.situations,
                "counterexample": counterexample,
            }
        )


def _row(row: ExploredRun) -> dict[str, Any]:
    return {
        "when": describe_run(row),
        "choices": [_choice(choice) for choice in row.choices],
        "path": row.steps,
        "status": row.status.value,
        "error_type": row.error_type,
    }


def _choice(choice: Choice) -> dict[str, Any]:
    if choice.ending is not None:
        return {"step": choice.step, "ending": choice.ending.value}
    # A condition that throws ends the choice: later edges have no result.
    taken = dict(zip((edge.id for edge in choice.edges), choice.taken, strict=False))
    return {
        "step": choice.step,
        "edges": taken,
        "throws": choice.throws.id if choice.throws else None,
        "state": json.loads(choice.witness) if choice.witness else None,
    }


# --- as cases -------------------------------------------------------------------------------------


def _write(
    target: Path,
    file: Path,
    workflow: Workflow,
    rows: DecisionTable,
    pick: str | None,
    input: str | None,
) -> None:
    known = None if input is None else json.loads(input)
    write_case_file(
        target, lambda relative: case_file(workflow, relative, rows.rows, pick, known), file
    )
