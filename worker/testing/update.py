"""Writes what was found into cases that expected something else, and leaves the rest of the file,
comments included, as it is."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worker.runner.result import Result
from worker.testing.assertions import executions, log_lines, not_passed, outputs_of
from worker.testing.cases import EXECUTIONS
from worker.testing.jsonpath import NOTHING, ask
from worker.testing.runner import CaseResult

if TYPE_CHECKING:
    from ruamel.yaml import YAML

Stated = MutableMapping[str, Any]


def update(file: Path, verdicts: Sequence[CaseResult]) -> list[str]:
    """Correct the cases of a file that were not as expected; gives the names of those that were.

    Cases from a matrix share what they expect, and are left as they are.
    """
    listed, write = _opened(file)
    shared = [verdict.case.index for verdict in verdicts]
    names = []
    for verdict in verdicts:
        if verdict.mismatches and shared.count(verdict.case.index) == 1:
            _correct(listed[verdict.case.index]["expect"], verdict)
            names.append(verdict.case.name)
    if names:
        write()
    return names


def _opened(file: Path) -> tuple[Any, Callable[[], None]]:
    """The cases of a file, and what writes it back with them."""
    if file.suffix == ".json":
        root = json.loads(file.read_text("utf-8"))
        return root["cases"], lambda: _write(file, json.dumps(root, indent=2, ensure_ascii=False))
    yaml = _yaml()
    tree = yaml.load(file.read_text("utf-8"))
    return tree["cases"], lambda: _write(file, _dumped(yaml, tree))


def _yaml() -> YAML:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 100
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _dumped(yaml: YAML, tree: Any) -> str:
    stream = io.StringIO()
    yaml.dump(tree, stream)
    return stream.getvalue()


def _write(file: Path, text: str) -> None:
    """All of it or nothing: a file that took an hour to write must not be half gone."""
    draft = file.with_name(f".{file.name}.new")
    draft.write_text(text.rstrip() + "\n", "utf-8")
    draft.replace(file)


def _correct(stated: Stated, verdict: CaseResult) -> None:
    _correct_run(stated, verdict, verdict.results[-1])
    if "runs" in stated:
        runs = stated["runs"]
        del runs[len(verdict.results) :]
        runs.extend({} for _ in range(len(verdict.results) - len(runs)))
        for one, result in zip(runs, verdict.results, strict=True):
            _correct_run(one, verdict, result)


def _correct_run(stated: Stated, verdict: CaseResult, result: Result) -> None:
    path = [entry.step for entry in result.path]
    edges = {edge.id: edge for step in verdict.case.workflow.steps for edge in step.edges}

    def seen(name: str, taken: bool) -> bool:
        return bool(executions(result, edges[name.replace(" -> ", "->")], taken=taken))

    def holds(key: str, wanted: Callable[[str], bool]) -> None:
        if key in stated:
            _keep(stated, key, [name for name in stated[key] if wanted(str(name))])

    _put(stated, "status", result.status.value)
    _put(stated, "error_type", result.error_type)
    if stated.get("error_message", "") not in (result.error_message or ""):
        _put(stated, "error_message", result.error_message)
    if [str(step) for step in stated.get("path", path)] != path:
        _keep(stated, "path", path)
    if not_passed([str(step) for step in stated.get("through", ())], path) is not None:
        _keep(stated, "through", path)
    holds("never", lambda step: step not in path)
    holds("taken", lambda name: seen(name, True))
    holds("refused", lambda name: not seen(name, True) and seen(name, False))
    holds("logs", lambda text: any(text in line for line in log_lines(result)))
    _correct_states(stated, result)
    if not stated:
        stated["status"] = result.status.value


def _correct_states(stated: Stated, result: Result) -> None:
    if "state" in stated:
        stated["state"] = _within(stated["state"], result.final_state)
    if "state_exact" in stated and stated["state_exact"] != result.final_state:
        stated["state_exact"] = result.final_state
    for query in tuple(stated.get("state_at", ())):
        _put(stated["state_at"], query, ask(query, result.final_state))
    for step in tuple(stated.get("outputs", ())):
        _correct_output(stated["outputs"], step, outputs_of(result, str(step)))


def _correct_output(outputs: Stated, step: str, ran: list[Any]) -> None:
    stated = outputs[step]
    keyed = isinstance(stated, MutableMapping) and stated
    if not ran:
        del outputs[step]
    elif keyed and all(re.fullmatch(EXECUTIONS, key) for key in stated):
        for key in tuple(stated):
            number = 0 if key == "*" else int(key.partition("-")[0])
            _put(stated, key, _within(stated[key], ran[number]) if number < len(ran) else None)
    else:
        outputs[step] = _within(stated, ran[-1])


def _put(stated: Stated, key: str, found: Any) -> None:
    """Where a key is stated, let it state what was found; or nothing, where nothing was."""
    if key not in stated:
        return
    if found is None or found is NOTHING:
        del stated[key]
    elif stated[key] != found:
        stated[key] = found


def _keep(stated: Stated, key: str, names: Sequence[Any]) -> None:
    """Let a list state these names, in place: it stays a line where it was one."""
    if not names and key != "path":
        del stated[key]
    elif list(stated[key]) != names:
        stated[key].clear()
        stated[key].extend(names)


def _within(stated: Any, found: Any) -> Any:
    """What is stated, with what was found in its place: no more than was asked."""
    if isinstance(stated, MutableMapping) and isinstance(found, dict):
        for key in tuple(stated):
            if key in found:
                stated[key] = _within(stated[key], found[key])
            else:
                del stated[key]
        return stated
    return stated if stated == found else found
