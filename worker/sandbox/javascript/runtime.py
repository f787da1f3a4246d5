"""JavaScript of one run: compiles and executes its steps and edge conditions on an engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from worker.compiler.collections_name import COLLECTIONS, uses_collections
from worker.compiler.compiled_job import CompiledJob
from worker.core.machine import EdgesEvaluated
from worker.core.outcome import OUT_OF_MEMORY, Outcome, Position, StepError, error_entry
from worker.core.plan import Plan
from worker.engine.failures import EvaluationError, OutOfMemory, ScriptError
from worker.sandbox.javascript.engine import Engine
from worker.sandbox.limits import too_deep
from worker.util.nesting import NESTING_LIMIT, nests_deeper
from worker.workflow.model import Edge, EdgeKind, Step

SOURCE_LINE_LIMIT = 500
_CODE_FROM_TEXT = "Code generation from strings disallowed for this context"


class JavaScript:
    """Steps and conditions of one run.

    Set ``wait(seconds)``, which returns when the next timer is due or a call has its reply, and
    waits for a reply alone where it gets ``None``; and ``call(number, kind, text)``, which sends an
    adaptor's call to the parent.
    """

    def __init__(self, engine: Engine) -> None:
        self.wait: Callable[[float | None], None] = lambda seconds: None
        self.call: Callable[[int, str, str], None] = lambda number, kind, text: None
        self._engine = engine
        self._jobs: dict[str, CompiledJob] = {}
        self._sources: dict[str, Step] = {}
        self._conditions: dict[str, int] = {}
        self._prefixes: dict[tuple[tuple[str, ...], tuple[str, ...]], str] = {}

    # --- before the first step ------------------------------------------------------------------

    def define(
        self, plan: Plan, jobs: Mapping[str, CompiledJob], conditions: Mapping[str, str]
    ) -> StepError | None:
        """Compile every job and every condition; return the first error.

        ``conditions`` maps each expression to what :func:`compile_condition` made of it.
        """
        for step in plan.steps:
            job = jobs.get(step.id)
            error = self._define_job(step, job) if job else None
            error = error or self._define_conditions(step, conditions)
            if error is not None:
                return error
        return None

    def _define_job(self, step: Step, job: CompiledJob) -> StepError | None:
        file = f"job:{step.id}"
        self._jobs[file], self._sources[file] = job, step
        # The body starts on a line of its own, so that its lines are the author's plus one.
        head = f'(async function ($worker) {{"use strict";{self._prefix(step, job)}\n'
        try:
            self._engine.evaluate(f"{head}{job.body}\n}})", file)
        except EvaluationError as error:
            return self._error(error.report, step)
        description = {
            "adaptors": _adaptors(step),
            "sites": dict(job.sites),
            "free": job.free,
        }
        self._engine.job(file, json.dumps(description))
        return None

    def _prefix(self, step: Step, job: CompiledJob) -> str:
        # Names that no adaptor exports must stay free, or they would be undefined and not an error.
        key = (_adaptors(step), job.free)
        if key not in self._prefixes:
            names = self._engine.names(*key) if key[0] else []
            self._prefixes[key] = f"const {{{', '.join(names)}}} = $worker.exports;"
        return self._prefixes[key]

    def _define_conditions(self, step: Step, conditions: Mapping[str, str]) -> StepError | None:
        for edge in step.edges:
            if edge.kind is EdgeKind.EXPRESSION and edge.expression not in self._conditions:
                error = self._define_condition(edge, conditions[edge.expression])
                if error is not None:
                    return error
        return None

    def _define_condition(self, edge: Edge, compiled: str) -> StepError | None:
        # Lines around the text keep a comment at its end from hiding the closing bracket.
        head = '(function (state, upstreamStepId) {"use strict"; return ('
        source = f"{head}\n{compiled}\n);}})"
        try:
            self._engine.evaluate(source, f"edge:{edge.id}")
        except EvaluationError as error:
            message = f"the condition of {edge.id} does not compile: {error}"
            return StepError(type="EdgeConditionError", message=message, name="SyntaxError")
        self._conditions[edge.expression] = self._engine.condition()
        return None

    # --- steps ------------------------------------------------------------------------------------

    def run(self, step: Step, input: str, defaults: str, configuration: str) -> Outcome:
        """Execute a step over its upstream state; all arguments and the result are JSON text."""
        try:
            return self._execute(step, input, defaults, configuration)
        except ScriptError:
            # Only an exhausted heap makes the realm itself throw.
            return _aborted(step, OUT_OF_MEMORY)

    def _execute(self, step: Step, input: str, defaults: str, configuration: str) -> Outcome:
        try:
            file = f"job:{step.id}"
            output = self._engine.step(file, step.id, input, defaults, configuration)
        except OutOfMemory:
            raise
        except ScriptError as error:
            return _aborted(step, self._uncaught(error))
        return self._settled(step) if output is None else Outcome(state=output)

    def _settled(self, step: Step) -> Outcome:
        result, escaped = self._settle()
        # A job may have caught the error of a forbidden operation; it ends the step all the same.
        if escaped is None and result == "ok":
            escaped = self._caught()
        if escaped is not None:
            return _aborted(step, escaped)
        if result == "ok":
            return Outcome(state=self._engine.output(), errored=self._engine.errored())
        return self._failed(step, self._error(_read_report(result), step))

    def _settle(self) -> tuple[str, StepError | None]:
        """Run microtasks and timers until the step is settled, or an error escapes from it.

        Return ``"ok"`` or the report of the step's error, and the error that escaped.
        """
        while True:
            try:
                self._engine.run_pending()
                # Taken after all microtasks: a rejection may be handled later in the same turn.
                rejected = self._engine.take_rejection()
                result = self._engine.poll()
                if rejected is not None:
                    return result, self._escaped(f"unhandled rejection: {rejected}")
                if result:
                    return result, None
                if calls := self._engine.calls():
                    for call in json.loads(calls):
                        self.call(*call)
                due = self._engine.due()
                if due != 0:
                    self.wait(None if due < 0 else due / 1000)
                self._engine.fire()
            except OutOfMemory:
                return "", OUT_OF_MEMORY
            except ScriptError as error:
                return "", self._uncaught(error)

    def _uncaught(self, error: ScriptError) -> StepError:
        return self._escaped(f"uncaught error: {str(error).partition(chr(10))[0]}")

    def _caught(self) -> StepError | None:
        kind = self._engine.caught()
        if kind == "SecurityError":
            return StepError(type=kind, message=_CODE_FROM_TEXT)
        return OUT_OF_MEMORY if kind else None

    def _escaped(self, message: str) -> StepError:
        return self._caught() or StepError(type="ExecutionError", message=message)

    def _failed(self, step: Step, error: StepError) -> Outcome:
        if error.aborts:
            return Outcome(state=None, error=error)
        state = self._engine.failed(json.dumps(error_entry(error)))
        if state is None:
            return _aborted(step, too_deep())
        return Outcome(state=state, errored=True, error=error)

    # --- conditions -----------------------------------------------------------------------------

    def evaluate(self, step: Step, edges: tuple[Edge, ...], state: str | None) -> EdgesEvaluated:
        """Evaluate edges in order over a state, up to the first that throws."""
        conditions = [
            self._conditions[edge.expression] if edge.kind is EdgeKind.EXPRESSION else edge.kind
            for edge in edges
        ]
        try:
            result = json.loads(self._engine.edges(step.id, json.dumps(conditions), state))
            # What a condition has started ends with it, and must not run in the next step.
            self._engine.drop_pending()
        except ScriptError:
            return EdgesEvaluated(taken=(), state=state, error=OUT_OF_MEMORY)
        taken = tuple(result["taken"])
        if result["thrown"] is None:
            return EdgesEvaluated(taken=taken, state=self._engine.evaluated())
        report = _read_report(result["thrown"])
        if report["type"] == "OomError":
            return EdgesEvaluated(taken=taken, state=state, error=OUT_OF_MEMORY)
        if report["type"] == "StateTooLargeError":
            return EdgesEvaluated(taken=taken, state=state, error=self._error(report, step))
        edge = edges[len(taken)]
        thrown = f"{report['name'] or 'an error'}: {report['message']}"
        message = f"the condition of {edge.id} threw {thrown}"
        error = StepError(type="EdgeConditionError", message=message, name=report["name"])
        return EdgesEvaluated(taken=taken, state=state, error=error)

    # --- errors ---------------------------------------------------------------------------------

    def _error(self, report: dict[str, Any], step: Step) -> StepError:
        message = OUT_OF_MEMORY.message if report["type"] == "OomError" else report["message"]
        frames = [self._place(frame) for frame in report["frames"] if frame["line"] > 0]
        # The innermost frame of the step itself: adaptors' frames mean nothing to its author.
        own = [frame for frame in frames if frame[1] == f"job:{step.id}"]
        position = _position(step, *own[0][2:]) if own else None
        return StepError(
            type=report["type"],
            message=message,
            name=report["name"],
            job_id=step.id,
            position=position,
            stack=tuple(map(_frame_text, frames)),
            details=report["details"],
        )

    def _place(self, frame: dict[str, Any]) -> tuple[str, str, int, int]:
        job = self._jobs.get(frame["file"])
        line, column = frame["line"], frame["column"]
        if job is not None:
            line, column = job.origin(line, in_characters(job.body, line, column))
        return frame["name"], frame["file"], line, column


def _adaptors(step: Step) -> tuple[str, ...]:
    # After the step's own, which may be the collections adaptor in another version.
    return (*step.adaptors, COLLECTIONS) if uses_collections(step.source) else step.adaptors


def _read_report(text: str) -> dict[str, Any]:
    """Read the report of an error; too deep details, which a job may throw, make it another."""
    # The details are one level inside the report.
    if nests_deeper(text, NESTING_LIMIT + 1):
        message = too_deep("a value of the error").message
        text = json.dumps(
            {
                "type": "StateTooLargeError",
                "name": "",
                "message": message,
                "frames": [],
                "details": {},
            }
        )
    report: dict[str, Any] = json.loads(text)
    return report


def _aborted(step: Step, error: StepError) -> Outcome:
    return Outcome(state=None, error=replace(error, job_id=step.id))


def in_characters(text: str, line: int, column: int) -> int:
    """Convert a column that the engine counted in bytes of UTF-8 to code points."""
    if text.isascii():
        return column
    lines = text.split("\n")
    before = lines[line - 1].encode()[: column - 1] if line <= len(lines) else b""
    return len(before.decode(errors="ignore")) + 1


def _position(step: Step, line: int, column: int) -> Position:
    lines = step.source.split("\n")
    text = lines[line - 1] if 0 < line <= len(lines) else ""
    # A position in code that the compiler added may lie beyond the author's line.
    within = min(column, len(text) + 1)
    return Position(line=line, column=within, source_line=text[:SOURCE_LINE_LIMIT])


def _frame_text(frame: tuple[str, str, int, int]) -> str:
    name, file, line, column = frame
    return f"at {name or '<anonymous>'} ({file.partition(':')[2]}:{line}:{column})"
