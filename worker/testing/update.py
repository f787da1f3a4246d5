"""Updater of case files: replaces expectations that were not met by what the runs did.

Everything else in the file stays as it is, comments included.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.runner.result import Result
from worker.testing.assertions import (
    cost_of_step,
    executions_before,
    first_not_passed,
    log_lines,
    outputs_of,
)
from worker.testing.case_keys import spellings
from worker.testing.case_runner import CaseResult
from worker.testing.case_text import represent_text
from worker.testing.cost_bound import parse_cost_bound
from worker.testing.execution_keys import has_execution_keys
from worker.testing.jsonpath import NO_MATCH, query
from worker.util.json import dump_indented
from worker.util.whole_files import write_whole

if TYPE_CHECKING:
    from ruamel.yaml import YAML

# A mapping of the file, which ruamel.yaml writes back with its comments where it is changed in
# place. So nothing below replaces one by a copy.
Expected = MutableMapping[str, Any]


def update_cases(file: Path, results: Sequence[CaseResult]) -> list[str]:
    """Correct the cases of a file that have mismatches, and return the names of those corrected.

    The cases of a matrix share one expectation in the file, and are left to their author.
    """
    cases, write = _open(file)
    indices = [result.case.index for result in results]
    names = []
    for result in results:
        # Without a result the case could not be run: there is nothing to write.
        corrected = result.mismatches and result.results
        if corrected and indices.count(result.case.index) == 1:
            _correct(cases[result.case.index]["expect"], result)
            names.append(result.case.name)
    if names:
        write()
    return names


def _open(file: Path) -> tuple[Any, Callable[[], None]]:
    """Read the cases of a file. Returns them with the function that writes them back."""
    if file.suffix == ".json":
        root = json.loads(file.read_text("utf-8"))
        return root["cases"], lambda: _write(file, dump_indented(root))
    yaml = _yaml()
    tree = yaml.load(file.read_text("utf-8"))
    return tree["cases"], lambda: _write(file, _dumped(yaml, tree))


def _yaml() -> YAML:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.representer.add_representer(str, represent_text)
    yaml.preserve_quotes = True
    # The style of our own samples; ruamel.yaml keeps comments and quotes, but no indentation.
    yaml.width = 100
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _dumped(yaml: YAML, tree: Any) -> str:
    stream = io.StringIO()
    yaml.dump(tree, stream)
    return stream.getvalue()


def _write(file: Path, text: str) -> None:
    write_whole(file, f"{text.rstrip()}\n".encode())


def _correct(expected: Expected, case_result: CaseResult) -> None:
    if "collections" in expected:
        part = _corrected_part(expected["collections"], dict(case_result.collections))
        _set(expected, "collections", part or None)
    if "response" in expected:
        _correct_response(expected, case_result)
    _correct_run(expected, case_result, case_result.results[-1])
    if "runs" in expected:
        runs = expected["runs"]
        del runs[len(case_result.results) :]
        runs.extend({} for _ in range(len(case_result.results) - len(runs)))
        for run, result in zip(runs, case_result.results, strict=True):
            _correct_run(run, case_result, result)


def _correct_response(expected: Expected, case_result: CaseResult) -> None:
    from worker.testing.trigger_start import response_of

    trigger = case_result.case.trigger
    response = None if trigger is None else response_of(trigger, case_result.results[-1])
    if response is None:
        return
    part = expected["response"]
    has_json = response.is_json and response.text
    _set(part, "code", response.code)
    _set(part, "text", response.text)
    if "json" in part:
        actual = json.loads(response.text) if has_json else None
        _set(part, "json", _corrected_part(part["json"], actual))


def _correct_run(expected: Expected, case_result: CaseResult, result: Result) -> None:
    path = [entry.step for entry in result.path]
    edges = {edge.id: edge for step in case_result.case.workflow.steps for edge in step.edges}

    def decided(name: str, taken: bool) -> bool:
        return bool(executions_before(result, edges[name.replace(" -> ", "->")], taken=taken))

    def filter_list(key: str, holds: Callable[[str], bool]) -> None:
        if key in expected:
            _set_list(expected, key, [name for name in expected[key] if holds(str(name))])

    _set(expected, "status", result.status.value)
    _set(expected, "error_type", result.error_type)
    # A part of the message is a choice of the author, and stays while it is in the message.
    if expected.get("error_message", "") not in (result.error_message or ""):
        _set(expected, "error_message", result.error_message)
    if [str(step) for step in expected.get("path", path)] != path:
        _set_list(expected, "path", path)
    if first_not_passed([str(step) for step in expected.get("through", ())], path) is not None:
        _set_list(expected, "through", path)
    filter_list("never", lambda step: step not in path)
    filter_list("taken", lambda name: decided(name, True))
    for key in spellings("expect", "not_taken"):
        filter_list(key, lambda name: not decided(name, True) and decided(name, False))
    filter_list("logs", lambda text: any(text in line for line in log_lines(result)))
    _correct_states(expected, result)
    _correct_costs(expected, result)
    # Where every expectation was wrong, an empty one would pass whatever the run does.
    if not expected:
        expected["status"] = result.status.value


def _correct_states(expected: Expected, result: Result) -> None:
    if "state" in expected:
        expected["state"] = _corrected_part(expected["state"], result.final_state)
    if "state_exact" in expected and expected["state_exact"] != result.final_state:
        expected["state_exact"] = result.final_state
    for path in tuple(expected.get("state_at", ())):
        _set(expected["state_at"], path, query(path, result.final_state))
    for step in tuple(expected.get("outputs", ())):
        _correct_output(expected["outputs"], step, outputs_of(result, str(step)))


def _correct_costs(expected: Expected, result: Result) -> None:
    if "cost" in expected:
        _correct_bound(expected, "cost", result.cost)
    for step in tuple(expected.get("costs", ())):
        _correct_bound(expected["costs"], step, cost_of_step(result, str(step)))


def _correct_bound(expected: Expected, key: str, cost: int | None) -> None:
    bound = parse_cost_bound(str(expected[key]))
    if cost is None or bound is None or not bound.holds(cost):
        _set(expected, key, None if cost is None else f"<= {cost}")


def _correct_output(outputs: Expected, step: str, actual: list[Any]) -> None:
    expected = outputs[step]
    if not actual:
        del outputs[step]
    elif has_execution_keys(expected):
        for key in tuple(expected):
            # A range is corrected by its first execution: it states what all of them have.
            number = 0 if key == "*" else int(key.partition("-")[0])
            ran = number < len(actual)
            _set(expected, key, _corrected_part(expected[key], actual[number]) if ran else None)
    else:
        outputs[step] = _corrected_part(expected, actual[-1])


def _set(expected: Expected, key: str, actual: Any) -> None:
    """Set the value of a key that is expected; remove the key where there is no value."""
    if key not in expected:
        return
    if actual is None or actual is NO_MATCH:
        del expected[key]
    # An equal value is not set again: that would lose its quotes and comments.
    elif expected[key] != actual:
        expected[key] = actual


def _set_list(expected: Expected, key: str, names: Sequence[Any]) -> None:
    # An empty path is an expectation of its own (nothing runs); other empty lists expect nothing.
    if not names and key != "path":
        del expected[key]
    elif list(expected[key]) != names:
        # In place, so that a list that was written on one line stays on one line.
        expected[key].clear()
        expected[key].extend(names)


def _corrected_part(expected: Any, actual: Any) -> Any:
    """Replace the values of the keys that are expected, and add no others."""
    if isinstance(expected, MutableMapping) and isinstance(actual, dict):
        for key in tuple(expected):
            if key in actual:
                expected[key] = _corrected_part(expected[key], actual[key])
            else:
                del expected[key]
        return expected
    return expected if expected == actual else actual
