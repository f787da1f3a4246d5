"""``worker explore``: every way that a workflow can go, as a table, and answers about them all."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from worker.cli.progress import progress
from worker.core.machine import EdgesEvaluated
from worker.errors import UsageError
from worker.explore.explorer import Choice, Ending, ExploredRun, Explorer, Table, count_runs, table
from worker.explore.export_cases import label, suite
from worker.explore.properties import PropertyResult, answer, ask
from worker.runner.pool import background
from worker.runner.prepare import Options, prepare
from worker.sandbox.condition_client import ConditionEvaluator
from worker.sinks.terminal_text import one_line, printable
from worker.testing.case import SUFFIXES
from worker.util.json import dumps
from worker.workflow.documents.document import FILE_LIMIT, parse_json, read_text
from worker.workflow.load import load
from worker.workflow.model import Workflow


def explore(
    file: Path,
    *,
    workflow: str | None,
    input_file: Path | None,
    start: str,
    end: str,
    questions: tuple[str, ...],
    everything: bool,
    aborts: bool,
    limit: int,
    write_cases: Path | None,
    as_json: bool,
) -> int:
    """1 where a question is answered by a counterexample, else 0."""
    explored = load(file, workflow=workflow)
    asked = [ask(text, tuple(step.id for step in explored.steps)) for text in questions]
    options = Options(start=start, end=end)
    with closing(Asker(explored, options)) as asker:
        explorer = Explorer(plan=asker.plan, ask=asker, input=_input(input_file))
        with progress("exploring"):
            found = table(explorer, everything=everything, limit=limit)
            answers = [answer(explorer, question) for question in asked]
        if write_cases is not None:
            _write(write_cases, file, explored, found, workflow, explorer.input)
        lines = _as_json(found, answers) if as_json else _as_text(explorer, found, answers, aborts)
        for line in lines:
            print(line)
    return int(any(not one.holds for one in answers))


class Asker:
    """Asks a judge for the verdicts of conditions, a new one where the last one is gone."""

    def __init__(self, workflow: Workflow, options: Options) -> None:
        self._request = prepare(workflow, {}, options, str(uuid.uuid4()))
        self.plan = self._request.plan
        self._judge: ConditionEvaluator | None = None

    def __call__(self, step: str, states: Sequence[str]) -> list[EdgesEvaluated]:
        if self._judge is None or self._judge.gone:
            shared = background()
            call = shared.pool.evaluator(self._request)
            self._judge = asyncio.run_coroutine_threadsafe(call, shared.loop).result()
            if error := self._judge.refused():
                raise UsageError(f"the workflow cannot run: {error.message}")
        return self._judge.ask_all(step, states)

    def close(self) -> None:
        """Let the judge go."""
        if self._judge is not None:
            self._judge.close()


def _input(file: Path | None) -> str | None:
    if file is None:
        return None
    found = parse_json(read_text(file, FILE_LIMIT), str(file))
    if not isinstance(found, dict):
        raise UsageError(f"{file}: expected the input to be a JSON object")
    return dumps(found)


# --- as text --------------------------------------------------------------------------------------


def _as_text(
    explorer: Explorer, found: Table, answers: list[PropertyResult], aborts: bool
) -> Iterator[str]:
    hidden = [row for row in found.rows if _is_abort(row) and not aborts]
    shown = [row for row in found.rows if aborts or not _is_abort(row)]
    yield from _table(shown)
    yield ""
    if hidden:
        yield (
            f"{len(hidden)} more rows in which a step crashes or is killed, or a condition throws:"
            " the run ends there (--aborts shows them)"
        )
    yield from _summary(explorer, found)
    for one in answers:
        yield ""
        yield from _told(one)


def _is_abort(row: ExploredRun) -> bool:
    return bool(row.choices) and row.choices[-1].aborts


def _table(rows: Sequence[ExploredRun]) -> Iterator[str]:
    if not rows:
        return
    labels = [one_line(label(row), 60) for row in rows]
    paths = [one_line(" → ".join(row.steps) or "(no step)", 400) for row in rows]
    width = max(len("when"), *map(len, labels))
    number = len(str(len(rows)))
    yield f"{'':>{number}}  {'when':<{width}}  {'status':<8}  path"
    for count, (row, text, path) in enumerate(zip(rows, labels, paths, strict=True), start=1):
        yield f"{count:>{number}}  {text:<{width}}  {row.status.value:<8}  {path}"


def _summary(explorer: Explorer, found: Table) -> Iterator[str]:
    runs = count_runs(explorer)
    total = "more runs than were counted" if runs is None else f"{runs:,} runs"
    yield f"{len(found.rows):,} rows stand for {total}"
    for reason, number in found.pruned.items():
        yield f"pruned: {number:,} ways on, as {reason}"
    for reason in explorer.pruned:
        yield f"pruned: {one_line(reason, 200)}"


def _told(one: PropertyResult) -> Iterator[str]:
    text = printable(one.question.text)
    if one.counterexample is not None:
        yield f"✗ {text}"
        yield f"    against it: {one_line(label(one.counterexample))}"
        yield f"    path: {printable(' → '.join(one.counterexample.steps))}"
        yield f"    status: {one.counterexample.status.value}"
        for choice in one.counterexample.choices:
            if choice.witness is not None:
                yield f"    with {choice.step} {_gives(choice)} {one_line(choice.witness, 200)}"
    elif one.complete:
        yield f"✓ {text} ({one.situations:,} situations)"
    else:
        yield f"? {text}: nothing against it in {one.situations:,} situations, and there are more"


def _gives(choice: Choice) -> str:
    return "passing on" if choice.ending is Ending.FAILS else "giving"


# --- as data --------------------------------------------------------------------------------------


def _as_json(found: Table, answers: list[PropertyResult]) -> Iterator[str]:
    """One object a line: a row, or an answer."""
    for row in found.rows:
        yield dumps({"type": "row", **_row(row)})
    for one in answers:
        counterexample = _row(one.counterexample) if one.counterexample else None
        yield dumps(
            {
                "type": "answer",
                "question": one.question.text,
                "holds": one.holds,
                "complete": one.complete,
                "situations": one.situations,
                "counterexample": counterexample,
            }
        )


def _row(row: ExploredRun) -> dict[str, Any]:
    return {
        "when": label(row),
        "choices": [_choice(one) for one in row.choices],
        "path": row.steps,
        "status": row.status.value,
        "error_type": row.error_type,
    }


def _choice(one: Choice) -> dict[str, Any]:
    if one.ending is not None:
        return {"step": one.step, "ending": one.ending.value}
    verdicts = dict(zip((edge.id for edge in one.edges), one.verdicts, strict=False))
    return {
        "step": one.step,
        "edges": verdicts,
        "throws": one.throws.id if one.throws else None,
        "state": json.loads(one.witness) if one.witness else None,
    }


# --- as cases -------------------------------------------------------------------------------------


def _write(
    target: Path,
    file: Path,
    workflow: Workflow,
    found: Table,
    pick: str | None,
    input: str | None,
) -> None:
    if not target.name.endswith(SUFFIXES):
        raise UsageError(f"a file of cases ends in one of {', '.join(SUFFIXES)}, found {target}")
    if target.exists():
        raise UsageError(f"{target} exists already: choose another name, or remove it first")
    relative = os.path.relpath(file.resolve(), target.resolve().parent)
    known = None if input is None else json.loads(input)
    content = suite(workflow, relative, found.rows, pick, known)
    target.write_text(_dumped(target, content), "utf-8")
    print(f"wrote {len(content['cases'])} cases to {printable(str(target))}\n")


def _dumped(target: Path, content: dict[str, Any]) -> str:
    if target.suffix == ".json":
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    import yaml

    text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
    return text
