"""Scenarios: cases of a workflow as data, beside it, and what each expects.

    workflow: referral.yaml
    defaults: {input: {data: {patient: {id: P-1}}}}
    cases:
      - name: an unknown patient goes to the nurse
        steps:
          fetch-patient: {fails: JobError, message: no such patient}
        expect:
          status: success
          through: [fetch-patient, alert-nurse]
          refused: [fetch-patient->upsert-record]

A step runs its real code unless the case says what it does instead: ``returns`` a state,
``fails`` with any error type of the status table, ``takes`` seconds of virtual time, ``hangs``;
for each execution (``"0"``, ``"1-2"``, ``"*"``) where they differ. A case that names a step or an
edge that does not exist is stale: an error, never a real call.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.errors import LoadError
from worker.execute.limits import Limits
from worker.plan.document import parse_json, read_document
from worker.plan.formats.common import BODY_LIMIT, beside
from worker.plan.load import load
from worker.plan.reader import Node, kind_of
from worker.plan.workflow import Workflow
from worker.walk.jsontext import dumps
from worker.walk.outcome import StepError
from worker.walk.script import Act
from worker.walk.status import ERROR_TYPES, Status

SUFFIXES = (".cases.yaml", ".cases.yml", ".cases.json")

_SUITE_KEYS = ("workflow", "pick", "defaults", "cases")
_CASE_KEYS = ("name", "input", "input_file", "steps", "expect", "timeout", "memory", "start", "end")
_ACT_KEYS = ("returns", "fails", "message", "details", "takes", "hangs")
_EXPECT_KEYS = (
    *("status", "error_type", "error_message", "path", "through", "never"),
    *("taken", "refused", "state", "state_exact", "logs"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What a case expects; what is ``None`` or empty is not looked at.

    ``path`` is exact, ``through`` must be passed in this order, ``never`` not at all. ``state`` is
    a part of the final state, ``state_exact`` all of it. ``logs`` are parts of log lines.
    """

    status: Status | None = None
    error_type: str | None = None
    error_message: str | None = None
    path: tuple[str, ...] | None = None
    through: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    state: Any = None
    state_exact: Any = None
    logs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One scenario of a workflow, and its place in its file."""

    name: str
    workflow: Workflow
    input: Mapping[str, Any]
    script: Mapping[str, tuple[Act, ...]]
    expect: Expectation
    limits: Limits
    start: str
    end: str
    file: str
    line: int


def load_cases(file: Path) -> list[Case]:
    """The cases of a file. Raises :class:`LoadError` with line and column on a mistake."""
    document = read_document(file, located=True)
    node = Node(document, document.root).mapping(*_SUITE_KEYS)
    reader = _Reader(node, _workflow(node, file))
    cases = [reader.case(one) for one in node.at("cases").elements()]
    if node.warnings:
        first = node.warnings[0]
        raise LoadError(first.message, file=str(file), path=first.path)
    return cases


def _workflow(node: Node, file: Path) -> Workflow:
    name = node.at("workflow").name()
    pick = node.at("pick").name("") or None
    return load(file.parent / name, workflow=pick)


class _Reader:
    """Reads the cases of one workflow."""

    def __init__(self, suite: Node, workflow: Workflow) -> None:
        self._defaults = suite.at("defaults")
        if self._defaults.value is not None:
            self._defaults.mapping(*_CASE_KEYS)
        self._workflow = workflow
        self._steps = {step.id for step in workflow.steps}
        self._edges = {edge.id for step in workflow.steps for edge in step.edges}

    def case(self, node: Node) -> Case:
        node.mapping(*_CASE_KEYS)
        script = dict(self._script(self._default("steps")))
        script |= dict(self._script(node.at("steps")))
        return Case(
            name=node.at("name").name(),
            workflow=self._workflow,
            input=self._input(node),
            script=script,
            expect=self._expectation(node.at("expect")),
            limits=self._limits(node),
            start=self._either(node, "start").name(""),
            end=self._either(node, "end").name(""),
            file=node.document.file,
            line=node.place[0],
        )

    def _default(self, key: str) -> Node:
        if self._defaults.value is not None:
            return self._defaults.at(key)
        return Node(self._defaults.document, None, (), self._defaults.warnings)

    def _either(self, node: Node, key: str) -> Node:
        return node.at(key) if node.has(key) else self._default(key)

    def _input(self, node: Node) -> Mapping[str, Any]:
        for source in (node, self._defaults):
            if source.value is not None and source.has("input_file"):
                named = source.at("input_file")
                found = parse_json(beside(named, named.name(), BODY_LIMIT), named.name())
                if not isinstance(found, dict):
                    named.fail(f"expected an object in the file, found {kind_of(found)}")
                return found
            if source.value is not None and source.has("input"):
                return source.at("input").data()
        return {}

    def _limits(self, node: Node) -> Limits:
        standard = Limits()
        timeout = _number(self._either(node, "timeout"), standard.timeout_s)
        memory = _number(self._either(node, "memory"), standard.memory_mb)
        return Limits(timeout_s=timeout, memory_mb=int(memory))

    # --- acts -----------------------------------------------------------------------------------

    def _script(self, node: Node) -> Iterator[tuple[str, tuple[Act, ...]]]:
        for step, acts in node.items():
            self._exists(step, self._steps, "step", acts)
            acts.mapping()
            by_execution = acts.value and all(re.fullmatch(r"\*|\d+(-\d+)?", k) for k in acts.value)
            if by_execution:
                yield step, tuple(_act(one, *_executions(key)) for key, one in acts.items())
            else:
                yield step, (_act(acts, 0, None),)

    def _exists(self, name: str, known: set[str], kind: str, node: Node) -> None:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            node.fail(f"stale: the workflow has no {kind} '{name}'{hint}")

    # --- expectations ---------------------------------------------------------------------------

    def _expectation(self, node: Node) -> Expectation:
        if node.value is None:
            node.fail("expected what the case expects (expect: {status: success})")
        node.mapping(*_EXPECT_KEYS)
        return Expectation(
            status=_one_of(node.at("status"), Status),
            error_type=node.at("error_type").name("") or None,
            error_message=node.at("error_message").text("") or None,
            path=self._names(node, "path", self._steps) if node.has("path") else None,
            through=self._names(node, "through", self._steps),
            never=self._names(node, "never", self._steps),
            taken=self._names(node, "taken", self._edges),
            refused=self._names(node, "refused", self._edges),
            state=node.at("state").value,
            state_exact=node.at("state_exact").value,
            logs=tuple(one.text() for one in node.at("logs").elements()),
        )

    def _names(self, node: Node, key: str, known: set[str]) -> tuple[str, ...]:
        kind = "edge" if known is self._edges else "step"
        found = []
        for one in node.at(key).elements():
            name = one.name().replace(" -> ", "->") if kind == "edge" else one.name()
            self._exists(name, known, kind, one)
            found.append(name)
        return tuple(found)


def _executions(key: str) -> tuple[int, int | None]:
    """``"*"``: all; ``"0"``: the first; ``"1-2"``: the second and the third."""
    if key == "*":
        return 0, None
    first, _, last = key.partition("-")
    return int(first), int(last or first)


def _act(node: Node, first: int, last: int | None) -> Act:
    node.mapping(*_ACT_KEYS)
    if node.has("fails") and node.has("returns"):
        node.fail("expected fails or returns, found both")
    hangs = node.at("hangs").flag(default=False)
    return Act(
        first=first,
        last=last,
        returns=dumps(node.at("returns").value) if node.has("returns") else None,
        error=_error(node) if node.has("fails") else None,
        takes_s=math.inf if hangs else _number(node.at("takes"), 0.0),
    )


def _error(node: Node) -> StepError:
    type = node.at("fails").name()
    if type not in ERROR_TYPES:
        known = ", ".join(ERROR_TYPES)
        node.at("fails").fail(f"expected an error type ({known}), found '{type}'")
    message = node.at("message").text("scripted")
    return StepError(type=type, message=message, name=type, details=node.at("details").data())


def _one_of(node: Node, kind: type[Status]) -> Status | None:
    name = node.name("")
    if not name:
        return None
    if name not in set(kind):
        node.fail(f"expected one of {', '.join(kind)}, found '{name}'")
    return kind(name)


def _number(node: Node, default: float) -> float:
    if node.value is None:
        return default
    if isinstance(node.value, bool) or not isinstance(node.value, int | float) or node.value < 0:
        node.fail(f"expected a number, found {kind_of(node.value)}")
    return float(node.value)
