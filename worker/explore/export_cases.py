"""Writes a decision table down as cases: each row scripted, with what it leads to."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from worker.core.status import Status
from worker.explore.explorer import ERRORS, Choice, Ending, ExploredRun
from worker.workflow.model import Workflow


def suite(
    workflow: Workflow,
    file: str,
    rows: Sequence[ExploredRun],
    pick: str | None,
    input: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What a file of cases holds for these rows; ``input`` is the one that was known.

    A row that hangs on what a job without code passes on cannot be scripted, and is left out; so
    is one that hangs on a limit.
    """
    code = {step.id for step in workflow.steps if step.runs_code}
    start = rows[0].choices[0].step if rows and rows[0].choices else ""
    named = Counter[str]()
    cases = [
        _case(run, code, _numbered(label(run), named), input)
        for run in rows
        if _scriptable(run, code, start, known=input is not None)
    ]
    return {"workflow": file, **({"pick": pick} if pick else {}), "cases": cases}


def _numbered(name: str, named: Counter[str]) -> str:
    named[name] += 1
    return name if named[name] == 1 else f"{name} ({named[name]})"


def _scriptable(run: ExploredRun, code: set[str], start: str, *, known: bool) -> bool:
    for choice in run.choices:
        if choice.witness is None:
            if choice.throws is not None and not known:
                return False
        elif choice.step not in code and choice.step != start:
            return False
    return True


def _case(
    run: ExploredRun, code: set[str], name: str, known: Mapping[str, Any] | None
) -> dict[str, Any]:
    inputs = [
        json.loads(one.witness) for one in run.choices if one.witness and one.step not in code
    ]
    inputs += [dict(known)] if known is not None else []
    acts: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for choice in run.choices:
        if choice.ending is not None:
            acts[choice.step].append(_act(choice.ending))
        elif choice.witness is not None and choice.step in code:
            last = acts[choice.step][-1]
            state = _without_own_error(json.loads(choice.witness), choice.step, "fails" in last)
            last["leaves" if "fails" in last else "returns"] = state
    return {
        "name": name,
        **({"input": inputs[0]} if inputs else {}),
        "steps": {step: _by_execution(several) for step, several in acts.items()},
        "expect": dict(_expected(run)),
    }


def _act(ending: Ending) -> dict[str, Any]:
    return {} if ending is Ending.SUCCEEDS else {"fails": ERRORS[ending]}


def _without_own_error(state: dict[str, Any], step: str, failed: bool) -> dict[str, Any]:
    """What a failing step leaves behind, before its own error is put there."""
    if not failed:
        return state
    others = {name: one for name, one in state.get("errors", {}).items() if name != step}
    rest = {key: value for key, value in state.items() if key != "errors"}
    return {**rest, "errors": others} if others else rest


def _by_execution(acts: list[dict[str, Any]]) -> dict[str, Any]:
    """One act for all executions where they do the same, else one for each."""
    if all(act == acts[0] for act in acts):
        return acts[0]
    return {**{str(number): act for number, act in enumerate(acts[:-1])}, "*": acts[-1]}


def _expected(run: ExploredRun) -> Iterator[tuple[str, Any]]:
    yield "status", run.status.value
    if run.status is not Status.SUCCESS and run.error_type:
        yield "error_type", run.error_type
    yield "path", list(run.steps)


def label(run: ExploredRun) -> str:
    """What makes a run what it is, in words: who does not succeed, and what conditions say."""
    said = [text for choice in run.choices if (text := _said(choice))]
    return ", ".join(said) or "all goes well"


def _said(choice: Choice) -> str:
    if choice.ending is not None:
        return "" if choice.ending is Ending.SUCCEEDS else f"{choice.step} {choice.ending.value}"
    if choice.throws is not None:
        return f"the condition of {choice.throws.id} throws"
    verdicts = zip(choice.edges, choice.verdicts, strict=True)
    taken = [edge.target for edge, holds in verdicts if holds and edge.expression]
    refused = [edge for edge in choice.edges if edge.expression and edge.target not in taken]
    if taken:
        return f"{choice.step} leads to {' and '.join(taken)}"
    return f"{choice.step} leads to no {' nor '.join(edge.target for edge in refused)}"
