"""Reader of case files: parses cases and reports a mistake or a stale name with line and column."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.adaptors.http.stub_host import Stub
from worker.core.outcome import StepError
from worker.core.scripted import FAILURES, ScriptedStep
from worker.core.status import Status
from worker.errors import LoadError, name_in_message
from worker.sandbox.limits import Limits, resolve_limits
from worker.testing.case import (
    DEFAULT_START_US,
    Case,
    CronSchedule,
    Expectation,
    ExpectedOutput,
    RetryPolicy,
    moment_us,
)
from worker.testing.case_keys import (
    CASE_KEYS,
    CRON_KEYS,
    DEFAULT_KEYS,
    EXPECT_KEYS,
    FILE_KEYS,
    RETRY_KEYS,
    RUN_KEYS,
    STEP_KEYS,
    KeyReader,
    print_deprecation,
    spellings,
)
from worker.testing.case_trigger import TriggerStart
from worker.testing.cost_bound import CostBound, parse_cost_bound
from worker.testing.execution_keys import Executions, by_execution, first_by_execution
from worker.testing.matrix import expand
from worker.testing.stub_reader import read_stub
from worker.testing.trigger_reader import (
    TriggerReader,
    read_outcome,
    read_response,
    start_input,
)
from worker.util.json import dumps
from worker.util.path_checks import is_file
from worker.workflow.checkout import is_workflow
from worker.workflow.documents.cursor import Cursor
from worker.workflow.documents.data import describe, did_you_mean, shorten
from worker.workflow.documents.document import Document, parse_json, read_document
from worker.workflow.documents.near_files import suggest_file
from worker.workflow.formats.common import DATA_FILES, read_adjacent_file
from worker.workflow.limit_ranges import RANGES
from worker.workflow.load import load
from worker.workflow.model import Workflow

TIMES_LIMIT = 1000


def load_cases(file: Path, notify: Callable[[str], None] = print_deprecation) -> list[Case]:
    """Read the cases of a file.

    ``notify`` receives a line for each key with an old spelling; by default it goes to stderr.
    Raises :class:`LoadError` with line and column on a mistake.
    """
    document = read_document(file, located=True)
    node = Cursor(document, document.root).mapping(*FILE_KEYS)
    if not node.has("cases"):
        if _is_workflow(document.root):
            node.fail("this is a workflow: its cases stand in a file that ends in .cases.yaml")
        for key, value in node.items():
            if did_you_mean(key, ("cases",)):
                value.fail(f"unknown key '{key}'; did you mean 'cases'?")
        node.fail("this is not a case file: it has no key 'cases'")
    keys = KeyReader()
    # Cached by workflow: the cases of a file mostly share one, and loading it costs more than
    # reading a case.
    readers = functools.cache(lambda pick: _CaseReader(node, keys, _workflow(node, file, pick)))
    default_pick = node.at("pick").name("")
    entries = [
        (case, index)
        for index, entry in enumerate(node.at("cases").elements())
        for case in expand(entry.mapping())
    ]
    cases = [
        readers(case.at("pick").name(default_pick)).case(case, index) for case, index in entries
    ]
    _check_names([case.at("name") for case, _ in entries])
    _fail_on_warnings(node)
    keys.report(str(file), notify)
    return cases


def _check_names(names: Iterable[Cursor]) -> None:
    """Fail at the second of two cases of one name: names identify cases in reports."""
    first: dict[str, Cursor] = {}
    for name in names:
        other = first.setdefault(name.name(), name)
        if other is name:
            continue
        if other.position == name.position:
            text = "its matrix makes two cases of this name; name all variables in it"
        else:
            text = f"the case in line {other.position[0]} has this name too; give each its own"
        name.fail(f"'{shorten(name.name())}': {text}")


def _is_workflow(root: object) -> bool:
    # A case file has the key `workflow` too, with the name of a file.
    return (
        isinstance(root, Mapping)
        and is_workflow(root)
        and not isinstance(root.get("workflow"), str)
    )


def read_case(fields: Mapping[str, Any], workflow: Workflow, file: str) -> Case:
    """Read one case from its fields, as a file holds them. ``file`` is for errors."""
    document = Document(file=file, root={"cases": [fields]})
    node = Cursor(document, document.root)
    case = next(node.at("cases").elements())
    return _CaseReader(node, KeyReader(), workflow).case(case.mapping(), 0)


def _fail_on_warnings(node: Cursor) -> None:
    # In a workflow an unknown key is a warning, as OpenFn ignores it. Here it is a mistyped
    # expectation that would never fail.
    for first in node.warnings:
        raise LoadError(
            first.message,
            file=node.document.file,
            path=first.path,
            line=first.line,
            column=first.column,
        )


def _workflow(node: Cursor, file: Path, pick: str) -> Workflow:
    source = node.at("workflow")
    target = file.parent / source.name()
    if not is_file(target):
        source.fail(f"there is no file '{name_in_message(str(target))}'{suggest_file(target)}")
    return load(target, workflow=pick or None)


@dataclass(frozen=True, slots=True)
class _Names:
    """The ids of a workflow's steps, or of its edges."""

    kind: str
    known: frozenset[str]

    def check(self, name: str, node: Cursor) -> str:
        """Return the name if the workflow has it; otherwise fail at the position of ``node``."""
        if name not in self.known:
            hint = did_you_mean(name, self.known)
            if self.kind == "edge" and "->" not in name:
                hint = "; an edge is written SOURCE->TARGET"
            node.fail(f"stale: the workflow has no {self.kind} '{shorten(name)}'{hint}")
        return name

    def list(self, node: Cursor) -> tuple[str, ...]:
        return tuple(self.check(_without_spaces(item.name()), item) for item in node.elements())


def _without_spaces(name: str) -> str:
    return name.replace(" -> ", "->")


class _CaseReader:
    """Reads the cases of one workflow."""

    def __init__(self, file: Cursor, keys: KeyReader, workflow: Workflow) -> None:
        self._keys = keys
        self._defaults = file.at("defaults")
        if self._defaults.value is not None:
            keys.check(self._defaults, "case", DEFAULT_KEYS)
        self._workflow = workflow
        self._steps = _Names("step", frozenset(step.id for step in workflow.steps))
        edges = (edge.id for step in workflow.steps for edge in step.edges)
        self._edges = _Names("edge", frozenset(edges))
        self._triggers = TriggerReader(workflow)

    def case(self, node: Cursor, index: int) -> Case:
        self._keys.check(node, "case", CASE_KEYS)
        script = dict(self._script(self._default("steps")))
        script |= dict(self._script(node.at("steps")))
        begins_at_us = _moment_us(self._own_or_default(node, "at"))
        trigger = self._triggers.start(node, begins_at_us)
        expect = self._expectation(node.at("expect"), EXPECT_KEYS, trigger)
        return Case(
            name=node.at("name").name(),
            workflow=self._workflow,
            input=start_input(trigger, self._input(node)),
            script=script,
            expect=expect,
            limits=self._limits(node),
            start_at=self._start_at(node, trigger),
            stop_after=self._step_or_default(node, "stop_after"),
            begins_at_us=(trigger and trigger.tick_us) or begins_at_us,
            retry=self._retry(self._own_or_default(node, "retry")),
            schedule=None if trigger else self._schedule(self._own_or_default(node, "cron")),
            trigger=trigger,
            http=tuple(map(self._stub, self._stubs(node))),
            credentials=_credentials(self._own_or_default(node, "credentials")),
            collections=_collections(self._own_or_default(node, "collections")),
            run_id=node.at("run_id").name(""),
            fuel=expect.has_cost,
            file=node.document.file,
            line=node.position[0],
            index=index,
        )

    def _default(self, key: str) -> Cursor:
        if self._defaults.value is not None:
            return self._defaults.at(key)
        return Cursor(self._defaults.document, None, (), self._defaults.warnings)

    def _own_or_default(self, node: Cursor, key: str) -> Cursor:
        return node.at(key) if node.has(key) else self._default(key)

    def _step_or_default(self, node: Cursor, key: str) -> str:
        own = any(node.has(spelling) for spelling in spellings("case", key))
        source = node if own else self._defaults
        return "" if source.value is None else self._keys.at(source, "case", key).name("")

    def _start_at(self, node: Cursor, trigger: TriggerStart | None) -> str:
        own = self._step_or_default(node, "start_at")
        return own or (trigger.start if trigger else "")

    def _input(self, node: Cursor) -> Mapping[str, Any]:
        # The case comes before the defaults whatever the key is: `input` of a case replaces an
        # `input_file` of the defaults.
        for source in (node, self._defaults):
            if source.value is not None and source.has("input_file"):
                return _input_file(source.at("input_file"))
            if source.value is not None and source.has("input"):
                return source.at("input").data()
        return {}

    def _limits(self, node: Cursor) -> Limits:
        requested = {
            field: _limit(self._own_or_default(node, key), field)
            for key, field in (("timeout", "timeout_s"), ("memory", "memory_mb"))
        }
        return resolve_limits(self._workflow.options, requested)

    # --- several runs -----------------------------------------------------------------------------

    def _retry(self, node: Cursor) -> RetryPolicy:
        if node.value is None:
            return RetryPolicy()
        self._keys.check(node, "retry", RETRY_KEYS)
        step = self._keys.at(node, "retry", "start_at")
        return RetryPolicy(
            times=_times(node.at("times")),
            after_s=_number(node.at("after"), 0.0),
            start_at=self._steps.check(step.name(), step) if step.value is not None else "",
        )

    def _schedule(self, node: Cursor) -> CronSchedule | None:
        if node.value is None:
            return None
        node.mapping(*CRON_KEYS)
        own = next((step for step in self._workflow.steps if step.cron), None)
        expression = node.at("expression").name(own.cron if own else "")
        if not expression:
            node.fail("the workflow has no cron trigger: expected an expression")
        timezone = str(own.trigger.get("timezone", "UTC")) if own else "UTC"
        _check_cron(expression, timezone, node)
        times = _times(node.at("times"))
        return CronSchedule(expression=expression, times=times, timezone=timezone)

    def _stubs(self, node: Cursor) -> Iterator[Cursor]:
        # The first stub that matches a request replies to it, so a case's own come first and
        # override those that all cases share.
        yield from node.at("http").elements()
        yield from self._default("http").elements()

    def _stub(self, node: Cursor) -> Stub:
        stub = read_stub(node)
        if stub.step:
            self._steps.check(stub.step, node.at("step"))
        return stub

    # --- scripts --------------------------------------------------------------------------------

    def _script(self, node: Cursor) -> Iterator[tuple[str, tuple[ScriptedStep, ...]]]:
        for step, entry in node.items():
            self._steps.check(step, entry)
            keyed = first_by_execution(entry)
            yield step, tuple(_scripted_step(item, executions) for executions, item in keyed)

    # --- expectations ---------------------------------------------------------------------------

    def _expectation(
        self, node: Cursor, keys: tuple[str, ...], trigger: TriggerStart | None = None
    ) -> Expectation:
        if node.value is None:
            # First, as `expect` may be there with a mistyped key.
            _fail_on_warnings(node)
            # A case without expectations passes whatever happens; `expect: {}` states that.
            node.fail("expected an expectation (expect: {status: success}), found none")
        self._keys.check(node, "expect", keys)
        return Expectation(
            status=_status(node.at("status")),
            error_type=_error_type(node.at("error_type")) if node.has("error_type") else None,
            error_message=node.at("error_message").any_text("") or None,
            path=self._steps.list(node.at("path")) if node.has("path") else None,
            through=self._steps.list(node.at("through")),
            never=self._steps.list(node.at("never")),
            taken=self._edges.list(node.at("taken")),
            not_taken=self._edges.list(self._keys.at(node, "expect", "not_taken")),
            state=node.at("state").value,
            state_exact=node.at("state_exact").value,
            state_at=_queries(node.at("state_at")),
            outputs=tuple(self._outputs(node.at("outputs"))),
            logs=tuple(line.any_text() for line in node.at("logs").elements()),
            collections=node.at("collections").data() if node.has("collections") else {},
            cost=_cost_bound(node.at("cost")) if node.has("cost") else None,
            costs={
                self._steps.check(step, bound): _cost_bound(bound)
                for step, bound in node.at("costs").items()
            },
            runs=tuple(self._expectation(run, RUN_KEYS) for run in node.at("runs").elements()),
            trigger=read_outcome(node, trigger),
            response=read_response(node.at("response"), trigger),
        )

    def _outputs(self, node: Cursor) -> Iterator[ExpectedOutput]:
        for step, outputs in node.items():
            self._steps.check(step, outputs)
            for (_, first, last), output in by_execution(outputs):
                yield ExpectedOutput(step=step, first=first, last=last, value=output.value)


def _input_file(node: Cursor) -> Mapping[str, Any]:
    content = parse_json(read_adjacent_file(node, node.name(), DATA_FILES), node.name())
    if not isinstance(content, dict):
        node.fail(f"expected an object in the file, found {describe(content)}")
    return content


def _scripted_step(node: Cursor, executions: Executions) -> ScriptedStep:
    node.mapping(*STEP_KEYS)
    fails = node.has("fails")
    if fails and node.has("returns"):
        node.fail("expected 'fails' or 'returns', found both (a failing step 'leaves' a state)")
    if node.has("leaves") and not fails:
        node.fail("expected 'fails' beside 'leaves', the state that a failing step leaves behind")
    hangs = node.at("hangs").flag(default=False)
    state_key = "leaves" if fails else "returns"
    return ScriptedStep(
        first=executions.first,
        last=executions.last,
        returns=dumps(node.at(state_key).value) if node.has(state_key) else None,
        error=_error(node) if fails else None,
        takes_s=math.inf if hangs else _number(node.at("takes"), 0.0),
    )


def _error(node: Cursor) -> StepError:
    type = _error_type(node.at("fails"))
    message = node.at("message").any_text("scripted")
    return StepError(type=type, message=message, name=type, details=node.at("details").data())


def _credentials(node: Cursor) -> dict[str, Any]:
    return {name: credential.data() for name, credential in node.items()}


def _collections(node: Cursor) -> dict[str, dict[str, Any]] | None:
    if node.value is None:
        return None
    return {name: values.data() for name, values in node.items()}


def _error_type(node: Cursor) -> str:
    type = node.name()
    if type not in FAILURES:
        node.fail(f"unknown error type '{shorten(type)}' (expected one of {', '.join(FAILURES)})")
    return type


def _status(node: Cursor) -> Status | None:
    name = node.name("")
    if not name:
        return None
    if name not in set(Status):
        node.fail(f"unknown status '{shorten(name)}' (expected one of {', '.join(Status)})")
    return Status(name)


def _limit(node: Cursor, field: str) -> float | None:
    value: float | None = node.value
    if value is not None and (problem := RANGES[field].problem(value)):
        node.fail(problem)
    return value


def _cost_bound(node: Cursor) -> CostBound:
    bound = parse_cost_bound(node.name())
    if bound is None:
        node.fail(f"expected a bound such as '< 2M', found {describe(node.value)}")
    return bound


def _number(node: Cursor, default: float) -> float:
    return default if node.value is None else float(node.amount())


def _times(node: Cursor) -> int:
    number = node.amount()
    if number != int(number) or not 1 <= number <= TIMES_LIMIT:
        node.fail(f"expected a whole number from 1 to {TIMES_LIMIT}, found {number}")
    return int(number)


def _moment_us(node: Cursor) -> int:
    """Parse a date and time in ISO 8601 into microseconds since the epoch."""
    if node.value is None:
        return DEFAULT_START_US
    try:
        return moment_us(node.text())
    except ValueError:
        node.fail(
            f"expected a date and time (2026-03-01T08:00:00Z), found '{shorten(node.text())}'"
        )


def _check_cron(expression: str, timezone: str, node: Cursor) -> None:
    # Imported here: few files have a schedule, and pytest reads every case file on collection.
    from worker.fleet.control.triggers.cron_schedule import ScheduleError, check_schedule

    try:
        check_schedule(expression, timezone)
    except ScheduleError as error:
        node.fail(f"the cron expression cannot be read: {error}")


def _queries(node: Cursor) -> dict[str, Any]:
    if node.value is None:
        return {}
    from worker.testing.jsonpath import QueryError, parse

    for path, expected in node.items():
        try:
            parse(path)
        except QueryError as error:
            expected.fail(f"'{shorten(path)}' is not a JSONPath: {error.args[0]}")
    return node.data()
