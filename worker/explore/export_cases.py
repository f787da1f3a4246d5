"""Export of a decision table as a case file: each row scripted, with its path and status."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from worker.core.status import Status
from worker.explore.explorer import ERRORS, Choice, Ending, ExploredRun
from worker.workflow.model import Workflow


def case_file(
    workflow: Workflow,
    file: str,
    rows: Sequence[ExploredRun],
    pick: str | None,
    input: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Build the content of a case file for these rows.

    ``file`` is the workflow's, relative to the case file; ``pick`` is its name in a project.
    ``input`` is the one that the rows were explored with. A row that depends on the output of a
    job without code, or on a limit, cannot be scripted and is left out.
    """
    if input is not None:
        # No condition sees it, and a credential must not get into a file that is committed.
        input = {key: value for key, value in input.items() if key != "configuration"}
    code = {step.id for step in workflow.steps if step.runs_code}
    start = rows[0].choices[0].step if rows and rows[0].choices else ""
    uses = Counter[str]()
    cases = [
        _case(run, code, _unique(describe_run(run), uses), input)
        for run in rows
        if _scriptable(run, code, start, known=input is not None)
    ]
    return {"workflow": file, **({"pick": pick} if pick else {}), "cases": cases}


def _unique(name: str, uses: Counter[str]) -> str:
    uses[name] += 1
    return name if uses[name] == 1 else f"{name} ({uses[name]})"


def _scriptable(run: ExploredRun, code: set[str], start: str, *, known: bool) -> bool:
    for choice in run.choices:
        if choice.witness is None:
            # A condition that throws over every state is over a limit, which no script can be.
            if choice.throws is not None and not known:
                return False
        # The first step's state is the input of the case; behind it, only code can be scripted.
        elif choice.step not in code and choice.step != start:
            return False
    return True


def _case(
    run: ExploredRun, code: set[str], name: str, known: Mapping[str, Any] | None
) -> dict[str, Any]:
    inputs = [
        json.loads(choice.witness)
        for choice in run.choices
        if choice.witness and choice.step not in code
    ]
    inputs += [dict(known)] if known is not None else []
    scripts: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for choice in run.choices:
        if choice.ending is not None:
            scripts[choice.step].append(_scripted_step(choice.ending))
        elif choice.witness is not None and choice.step in code:
            # The conditions follow the execution that they belong to.
            last = scripts[choice.step][-1]
            state = _without_own_error(json.loads(choice.witness), choice.step, "fails" in last)
            last["leaves" if "fails" in last else "returns"] = state
    return {
        "name": name,
        **({"input": inputs[0]} if inputs else {}),
        "steps": {step: _by_execution(executions) for step, executions in scripts.items()},
        "expect": dict(_expected(run)),
    }


def _scripted_step(ending: Ending) -> dict[str, Any]:
    return {} if ending is Ending.SUCCEEDS else {"fails": ERRORS[ending]}


def _without_own_error(state: dict[str, Any], step: str, failed: bool) -> dict[str, Any]:
    """Remove the step's own error from a state; a failing step adds it itself."""
    if not failed:
        return state
    others = {name: error for name, error in state.get("errors", {}).items() if name != step}
    rest = {key: value for key, value in state.items() if key != "errors"}
    return {**rest, "errors": others} if others else rest


def _by_execution(executions: list[dict[str, Any]]) -> dict[str, Any]:
    if all(script == executions[0] for script in executions):
        return executions[0]
    *earlier, last = executions
    return {**{str(number): script for number, script in enumerate(earlier)}, "*": last}


def _expected(run: ExploredRun) -> Iterator[tuple[str, Any]]:
    yield "status", run.status.value
    if run.status is not Status.SUCCESS and run.error_type:
        yield "error_type", run.error_type
    yield "path", list(run.steps)


def describe_run(run: ExploredRun) -> str:
    """Describe the choices that differ from a run in which all goes well."""
    texts = [text for choice in run.choices if (text := _describe_choice(choice))]
    return ", ".join(texts) or "all goes well"


def _describe_choice(choice: Choice) -> str:
    if choice.ending is not None:
        return "" if choice.ending is Ending.SUCCEEDS else f"{choice.step} {choice.ending.value}"
    if choice.throws is not None:
        return f"the condition of {choice.throws.id} throws"
    edges = zip(choice.edges, choice.taken, strict=True)
    # Edges without an expression follow from the ending, and would only repeat it.
    taken = [edge.target for edge, is_taken in edges if is_taken and edge.expression]
    if taken:
        return f"{choice.step} leads to {' and '.join(taken)}"
    not_taken = [edge.target for edge in choice.edges if edge.expression]
    return f"no edge of {choice.step} to {' or '.join(not_taken)} is taken"
