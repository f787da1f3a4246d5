"""Reads files of cases. A mistake is an error with line and column; a stale name is one."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from worker.adaptors.http.stub_host import Stub
from worker.core.outcome import StepError
from worker.core.scripted import FAILURES, ScriptedStep
from worker.core.status import Status
from worker.errors import LoadError
from worker.sandbox.limits import Limits
from worker.testing.case import NEW_YEAR, Case, Expectation, Output, RetryPolicy, Schedule
from worker.testing.matrix import expand
from worker.testing.stubs import read_stub
from worker.util.json import dumps
from worker.workflow.documents.cursor import Cursor
from worker.workflow.documents.data import describe, did_you_mean, shorten
from worker.workflow.documents.document import parse_json, read_document
from worker.workflow.formats.common import BODY_LIMIT, read_adjacent_file
from worker.workflow.load import load
from worker.workflow.model import Workflow

SUITE_KEYS = ("workflow", "pick", "defaults", "cases")
DEFAULT_KEYS = (
    *("input", "input_file", "steps", "timeout", "memory", "start", "end", "at", "retry", "cron"),
    *("http", "credentials"),
)
CASE_KEYS = ("name", "pick", "matrix", "run_id", *DEFAULT_KEYS, "expect")
ACT_KEYS = ("returns", "leaves", "fails", "message", "details", "takes", "hangs")
RETRY_KEYS = ("times", "after", "from")
CRON_KEYS = ("times", "expression")
RUN_KEYS = (
    *("status", "error_type", "error_message", "path", "through", "never", "taken", "refused"),
    *("state", "state_exact", "state_at", "outputs", "logs"),
)
EXPECT_KEYS = (*RUN_KEYS, "runs")
EXECUTIONS = r"\*|\d{1,9}(-\d{1,9})?"
TIMES_LIMIT = 1000


def load_cases(file: Path) -> list[Case]:
    """The cases of a file. Raises :class:`LoadError` with line and column on a mistake."""
    document = read_document(file, located=True)
    node = Cursor(document, document.root).mapping(*SUITE_KEYS)
    readers = functools.cache(lambda pick: _Reader(node, _workflow(node, file, pick)))
    usual = node.at("pick").name("")
    cases = [
        readers(one.at("pick").name(usual)).case(one, index)
        for index, listed in enumerate(node.at("cases").elements())
        for one in expand(listed.mapping())
    ]
    if node.warnings:
        first = node.warnings[0]
        raise LoadError(first.message, file=str(file), path=first.path)
    return cases


def _workflow(node: Cursor, file: Path, pick: str) -> Workflow:
    return load(file.parent / node.at("workflow").name(), workflow=pick or None)


@dataclass(frozen=True, slots=True)
class _Names:
    """The names of a kind of thing that a case may use."""

    kind: str
    known: frozenset[str]

    def check(self, name: str, node: Cursor) -> str:
        if name not in self.known:
            hint = did_you_mean(name, self.known)
            node.fail(f"stale: the workflow has no {self.kind} '{shorten(name)}'{hint}")
        return name

    def list(self, node: Cursor) -> tuple[str, ...]:
        return tuple(self.check(_tight(one.name()), one) for one in node.elements())


def _tight(name: str) -> str:
    return name.replace(" -> ", "->")


class _Reader:
    """Reads the cases of one workflow."""

    def __init__(self, suite: Cursor, workflow: Workflow) -> None:
        self._defaults = suite.at("defaults")
        if self._defaults.value is not None:
            self._defaults.mapping(*DEFAULT_KEYS)
        self._workflow = workflow
        self._steps = _Names("step", frozenset(step.id for step in workflow.steps))
        edges = (edge.id for step in workflow.steps for edge in step.edges)
        self._edges = _Names("edge", frozenset(edges))

    def case(self, node: Cursor, index: int) -> Case:
        node.mapping(*CASE_KEYS)
        script = dict(self._script(self._default("steps")))
        script |= dict(self._script(node.at("steps")))
        return Case(
            name=node.at("name").name(),
            workflow=self._workflow,
            input=self._input(node),
            script=script,
            expect=self._expectation(node.at("expect"), EXPECT_KEYS),
            limits=self._limits(node),
            start=self._either(node, "start").name(""),
            end=self._either(node, "end").name(""),
            at=_moment(self._either(node, "at")),
            retry=self._retry(self._either(node, "retry")),
            schedule=self._schedule(self._either(node, "cron")),
            http=tuple(map(self._stub, self._rules(node))),
            credentials=_credentials(self._either(node, "credentials")),
            run_id=node.at("run_id").name(""),
            file=node.document.file,
            line=node.position[0],
            index=index,
        )

    def _default(self, key: str) -> Cursor:
        if self._defaults.value is not None:
            return self._defaults.at(key)
        return Cursor(self._defaults.document, None, (), self._defaults.warnings)

    def _either(self, node: Cursor, key: str) -> Cursor:
        return node.at(key) if node.has(key) else self._default(key)

    def _input(self, node: Cursor) -> Mapping[str, Any]:
        for source in (node, self._defaults):
            if source.value is not None and source.has("input_file"):
                named = source.at("input_file")
                found = parse_json(
                    read_adjacent_file(named, named.name(), BODY_LIMIT), named.name()
                )
                if not isinstance(found, dict):
                    named.fail(f"expected an object in the file, found {describe(found)}")
                return found
            if source.value is not None and source.has("input"):
                return source.at("input").data()
        return {}

    def _limits(self, node: Cursor) -> Limits:
        standard = Limits()
        timeout = _number(self._either(node, "timeout"), standard.timeout_s)
        memory = _number(self._either(node, "memory"), standard.memory_mb)
        return Limits(timeout_s=timeout, memory_mb=int(memory))

    # --- several runs -----------------------------------------------------------------------------

    def _retry(self, node: Cursor) -> RetryPolicy:
        if node.value is None:
            return RetryPolicy()
        node.mapping(*RETRY_KEYS)
        start = node.at("from")
        return RetryPolicy(
            times=_times(node.at("times")),
            after_s=_number(node.at("after"), 0.0),
            start=self._steps.check(start.name(), start) if start.value is not None else "",
        )

    def _schedule(self, node: Cursor) -> Schedule | None:
        if node.value is None:
            return None
        node.mapping(*CRON_KEYS)
        own = next((step.cron for step in self._workflow.steps if step.cron), "")
        expression = node.at("expression").name(own)
        if not expression:
            node.fail("the workflow has no cron trigger: expected an expression")
        _check_cron(expression, node)
        return Schedule(expression=expression, times=_times(node.at("times")))

    def _rules(self, node: Cursor) -> Iterator[Cursor]:
        """A case's own rules come before those that all cases share."""
        yield from node.at("http").elements()
        yield from self._default("http").elements()

    def _stub(self, node: Cursor) -> Stub:
        stub = read_stub(node)
        if stub.step:
            self._steps.check(stub.step, node.at("step"))
        return stub

    # --- acts -----------------------------------------------------------------------------------

    def _script(self, node: Cursor) -> Iterator[tuple[str, tuple[ScriptedStep, ...]]]:
        for step, acts in node.items():
            self._steps.check(step, acts)
            yield step, tuple(_act(one, *_executions(key)) for key, one in _by_execution(acts))

    # --- expectations ---------------------------------------------------------------------------

    def _expectation(self, node: Cursor, keys: tuple[str, ...]) -> Expectation:
        if node.value is None:
            node.fail("expected what the case expects (expect: {status: success})")
        node.mapping(*keys)
        runs = node.at("runs").elements()
        return Expectation(
            status=_one_of(node.at("status"), Status),
            error_type=_error_type(node.at("error_type")) if node.has("error_type") else None,
            error_message=node.at("error_message").text("") or None,
            path=self._steps.list(node.at("path")) if node.has("path") else None,
            through=self._steps.list(node.at("through")),
            never=self._steps.list(node.at("never")),
            taken=self._edges.list(node.at("taken")),
            refused=self._edges.list(node.at("refused")),
            state=node.at("state").value,
            state_exact=node.at("state_exact").value,
            state_at=_queries(node.at("state_at")),
            outputs=tuple(self._outputs(node.at("outputs"))),
            logs=tuple(one.text() for one in node.at("logs").elements()),
            runs=tuple(self._expectation(one, RUN_KEYS) for one in runs),
        )

    def _outputs(self, node: Cursor) -> Iterator[Output]:
        for step, outputs in node.items():
            self._steps.check(step, outputs)
            for key, one in _by_execution(outputs):
                first, last = _executions(key)
                yield Output(step=step, first=first, last=last, value=one.value)


def _by_execution(node: Cursor) -> Iterator[tuple[str, Cursor]]:
    """What is said for some executions each, or else for all of them."""
    keys = node.value if isinstance(node.value, Mapping) else {}
    if keys and all(re.fullmatch(EXECUTIONS, key) for key in keys):
        yield from node.items()
    else:
        yield "*", node


def _executions(key: str) -> tuple[int, int | None]:
    """``"*"``: all; ``"0"``: the first; ``"1-2"``: the second and the third."""
    if key == "*":
        return 0, None
    first, _, last = key.partition("-")
    return int(first), int(last or first)


def _act(node: Cursor, first: int, last: int | None) -> ScriptedStep:
    node.mapping(*ACT_KEYS)
    fails = node.has("fails")
    if fails and node.has("returns"):
        node.fail("expected fails or returns, found both (leaves: what a failure leaves behind)")
    if node.has("leaves") and not fails:
        node.fail("expected fails beside leaves: it is the state that a failure leaves behind")
    hangs = node.at("hangs").flag(default=False)
    returned = "leaves" if fails else "returns"
    return ScriptedStep(
        first=first,
        last=last,
        returns=dumps(node.at(returned).value) if node.has(returned) else None,
        error=_error(node) if fails else None,
        takes_s=math.inf if hangs else _number(node.at("takes"), 0.0),
    )


def _error(node: Cursor) -> StepError:
    type = _error_type(node.at("fails"))
    message = node.at("message").text("scripted")
    return StepError(type=type, message=message, name=type, details=node.at("details").data())


def _credentials(node: Cursor) -> dict[str, Any]:
    return {name: one.data() for name, one in node.items()}


def _error_type(node: Cursor) -> str:
    type = node.name()
    if type not in FAILURES:
        node.fail(f"expected an error type ({', '.join(FAILURES)}), found '{shorten(type)}'")
    return type


def _one_of(node: Cursor, kind: type[Status]) -> Status | None:
    name = node.name("")
    if not name:
        return None
    if name not in set(kind):
        node.fail(f"expected one of {', '.join(kind)}, found '{shorten(name)}'")
    return kind(name)


def _number(node: Cursor, default: float) -> float:
    return default if node.value is None else float(node.amount())


def _times(node: Cursor) -> int:
    number = node.amount()
    if number != int(number) or not 1 <= number <= TIMES_LIMIT:
        node.fail(f"expected a whole number from 1 to {TIMES_LIMIT}, found {number}")
    return int(number)


def _moment(node: Cursor) -> int:
    """A date and time in ISO 8601 as microseconds since the epoch; UTC where it does not say."""
    if node.value is None:
        return NEW_YEAR
    try:
        found = datetime.fromisoformat(node.text())
    except ValueError:
        node.fail(
            f"expected a date and time (2026-03-01T08:00:00Z), found '{shorten(node.text())}'"
        )
    aware = found if found.tzinfo else found.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1_000_000)


def _check_cron(expression: str, node: Cursor) -> None:
    from cronsim import CronSim, CronSimError

    try:
        CronSim(expression, datetime(2026, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        node.fail(f"the cron expression '{shorten(expression)}' cannot be read: {error}")


def _queries(node: Cursor) -> dict[str, Any]:
    if node.value is None:
        return {}
    from worker.testing.jsonpath import QueryError, parse

    for path, one in node.items():
        try:
            parse(path)
        except QueryError as error:
            one.fail(f"'{shorten(path)}' is no JSONPath: {error.args[0]}")
    return node.data()
