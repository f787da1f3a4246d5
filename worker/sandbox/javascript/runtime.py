"""JavaScript of one run: compiles and executes its steps and edge conditions on an engine."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from worker.compiler.collections_name import COLLECTIONS, uses_collections
from worker.compiler.compiled_job import CompiledJob
from worker.compiler.syntax_messages import node_message  # a confined process opens no module
from worker.core.machine import EdgesEvaluated
from worker.core.outcome import OUT_OF_MEMORY, Outcome, Position, StepError, own_error
from worker.core.plan import Plan
from worker.engine.failures import EvaluationError, OutOfMemory, ScriptError
from worker.errors import source_line
from worker.sandbox.javascript.engine import Engine
from worker.sandbox.javascript.error_entries import Frame, Thrown, write_entry
from worker.sandbox.limits import too_deep
from worker.util.nesting import NESTING_LIMIT, nests_deeper
from worker.workflow.model import Edge, EdgeKind, Step

_CODE_FROM_TEXT = "Code generation from strings disallowed for this context"
# Errors that V8 reports in another place of the same expression, by the keys of a site.
_ERROR_KINDS = {
    "reads": r"^Cannot (?:read properties of|convert undefined)",
    "deletes": r"^Cannot delete property",
    "assigns": r"^Assignment to constant",
    "calls": r" is not a function$",
}
# Names that the workflow's global functions cannot replace.
_OWN_NAMES = frozenset(("console", "state", "parseInt", "parseFloat"))


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
        self._files: dict[tuple[int, tuple[str, ...]], str] = {}
        """The file of each function, by the identity of its job and by its adaptors."""
        self._conditions: dict[str, int] = {}
        self._shared: frozenset[str] = frozenset()
        self._prefixes: dict[tuple[tuple[str, ...], tuple[str, ...]], str] = {}

    # --- before the first step ------------------------------------------------------------------

    def define(
        self,
        plan: Plan,
        jobs: Mapping[str, CompiledJob],
        conditions: Mapping[str, str],
        shared: CompiledJob | None = None,
    ) -> StepError | None:
        """Compile every job and every condition; return the first error.

        ``conditions`` maps each expression to what :func:`compile_condition` made of it. ``shared``
        is the module whose exports every job can name.
        """
        if shared is not None:
            self._define_shared(shared)
        for step in plan.steps:
            job = jobs.get(step.id)
            error = self._define_job(step, job) if job else None
            error = error or self._define_conditions(step, conditions)
            if error is not None:
                return error
        return None

    def _define_shared(self, shared: CompiledJob) -> None:
        self._shared = frozenset(shared.exports) - _OWN_NAMES
        names = self._engine.names([], shared.free)
        self._engine.evaluate(_function_of(shared, _names_from(names, "exports")), "globals")
        self._engine.shared(json.dumps(list(shared.free)), json.dumps(dict(shared.sites)))

    def _define_job(self, step: Step, job: CompiledJob) -> StepError | None:
        file = f"job:{step.id}"
        self._jobs[file] = job
        # Steps with the same source have the same job. As a step that runs more than once does,
        # they share its function, which keeps nothing of an execution.
        if self._files.setdefault((id(job), step.adaptors), file) != file:
            return None
        try:
            self._engine.evaluate(_function_of(job, self._prefix(step, job)), file)
        except EvaluationError as error:
            return self._not_compiled(error.report, step)
        description = {
            "adaptors": _adaptors(step),
            "sites": dict(job.sites),
            "free": job.free,
        }
        self._engine.job(file, json.dumps(description))
        return None

    def _not_compiled(self, report: dict[str, Any], step: Step) -> StepError:
        """Return the error of a source that the compiler accepts and the engine does not."""
        error = self._error(report, step)
        if error.type != "SyntaxError":
            return error
        lines, at = _lines(step), error.position
        offset = sum(len(line) + 1 for line in lines[: at.line - 1]) + at.column - 1 if at else None
        message, offset = node_message(error.message, "\n".join(lines), offset)
        if at is not None and offset is not None:
            before = "\n".join(lines)[:offset].split("\n")
            at = _position(step, Frame("", "", len(before), len(before[-1]) + 1))
        return replace(error, message=message, position=at)

    def _prefix(self, step: Step, job: CompiledJob) -> str:
        # Names that no adaptor exports must stay free, or they would be undefined and not an error.
        key = (_adaptors(step), job.free)
        if key not in self._prefixes:
            names = self._engine.names(*key)
            shared = self._shared.intersection(job.free).difference(names)
            own = _names_from(shared, "globals", "let")  # a job can assign these
            self._prefixes[key] = _names_from(names, "exports") + own
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
        head = '(function (state, upstreamStepId, console) {"use strict"; return ('
        source = f"{head}\n{compiled}\n);}})"
        try:
            self._engine.evaluate(source, f"edge:{edge.id}")
        except EvaluationError as error:
            message = f"the condition of {edge.id} does not compile: {error}"
            return StepError(type="EdgeConditionError", message=message, name="SyntaxError")
        self._conditions[edge.expression] = self._engine.condition()
        return None

    # --- steps ------------------------------------------------------------------------------------

    def run(self, step: Step, *texts: str) -> Outcome:
        """Execute a step over its upstream state; the result is JSON text.

        ``texts`` are JSON too: the upstream state, the step's default state, its configuration, and
        the credentials of the workflow.
        """
        try:
            return self._execute(step, *texts)
        except ScriptError:
            # Only an exhausted heap makes the realm itself throw.
            return _aborted(step, OUT_OF_MEMORY)

    def _execute(self, step: Step, *texts: str) -> Outcome:
        try:
            output = self._engine.step(self._file(step), step.id, *texts)
        except OutOfMemory:
            raise
        except ScriptError as error:
            return _aborted(step, self._uncaught(error))
        return self._settled(step) if output is None else Outcome(state=output)

    def _file(self, step: Step) -> str:
        return self._files[id(self._jobs[f"job:{step.id}"]), step.adaptors]

    def _settled(self, step: Step) -> Outcome:
        result, escaped = self._settle()
        # A job may have caught the error of a forbidden operation; it ends the step all the same.
        if escaped is None and result == "ok":
            escaped = self._caught()
        if escaped is not None:
            return _aborted(step, escaped)
        if result == "ok":
            return self._returned(step)
        return self._failed(step, _read_report(result))

    def _returned(self, step: Step) -> Outcome:
        errored = self._engine.errored()
        written = json.loads(self._engine.own_error()) if errored else None
        error = own_error(written, step.id) if errored else None
        return Outcome(state=self._engine.output(), errored=errored, error=error)

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

    def _failed(self, step: Step, report: dict[str, Any]) -> Outcome:
        error = self._error(report, step)
        if error.aborts:
            return Outcome(state=None, error=error)
        entry = write_entry(self._thrown(report, error, step), step)
        state = self._engine.failed(json.dumps(entry))
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
            result, changed = self._engine.edges(step.id, json.dumps(conditions), state)
            # What a condition has started ends with it, and must not run in the next step.
            self._engine.drop_pending()
        except ScriptError:
            return EdgesEvaluated(taken=(), state=state, error=OUT_OF_MEMORY)
        taken = tuple(result["taken"])
        if result["thrown"] is None:
            return EdgesEvaluated(taken=taken, state=changed)
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

    def _operation(self, report: dict[str, Any], step: Step) -> tuple[int, str]:
        """Return the line and the name of the operation that ran; line 0 if it is not known."""
        job = self._jobs.get(f"job:{step.id}")
        operations, index = job.operations if job else (), report.get("operation", -1)
        # Operations of a default export have no line; they come before all others.
        return operations[index] if 0 <= index < len(operations) else (0, "")

    def _operation_position(self, report: dict[str, Any], step: Step) -> Position | None:
        line, _ = self._operation(report, step)
        if not line:
            return None
        text = _lines(step)[line - 1]
        column = len(text) - len(text.lstrip()) + 1
        return _position(step, Frame("", f"job:{step.id}", line, column))

    def _thrown(self, report: dict[str, Any], error: StepError, step: Step) -> Thrown:
        line, name = self._operation(report, step)
        return Thrown(
            error=error,
            class_name=report["constructor"],
            is_error=report["isError"],
            frames=self._frames(report),
            line=line,
            operation=name,
            in_operation=report["operates"],
        )

    def _error(self, report: dict[str, Any], step: Step) -> StepError:
        message = OUT_OF_MEMORY.message if report["type"] == "OomError" else report["message"]
        frames = [frame for frame in self._frames(report) if frame.line > 0]
        # Adaptors' frames mean nothing to the author.
        frames = [frame for frame in frames if frame.is_job or frame.file.startswith("edge:")]
        own = [frame for frame in frames if frame.file == f"job:{step.id}"]
        position = _position(step, own[0]) if own else self._operation_position(report, step)
        return StepError(
            type=report["type"],
            message=message,
            name=report["name"],
            job_id=step.id,
            position=position,
            stack=tuple(map(_frame_text, frames)),
            details=report["details"],
        )

    def _frames(self, report: dict[str, Any]) -> list[Frame]:
        # The message is that of the innermost frame.
        texts = [report["message"], *[""] * len(report["frames"])]
        return list(map(self._frame, report["frames"], texts))

    def _frame(self, frame: dict[str, Any], message: str) -> Frame:
        job = self._jobs.get(frame["file"])
        line, column = frame["line"], frame["column"]
        is_inferred = False
        if job is not None and not frame.get("isWritten"):
            site = job.sites.get(f"{line}:{column}", {})
            line, column = job.origin(line, in_characters(job.body, line, column))
            # V8 reports a pattern at what it reads first, not at its bracket.
            kinds = (key for key, of in _ERROR_KINDS.items() if re.search(of, message))
            kind = next(kinds, "column")
            line = int(site.get("line", line))
            column = int(site.get(kind, site.get("column", column)))
            is_inferred = job.has_inferred_name(line, column)
        return Frame(frame["name"], frame["file"], line, column, is_inferred)


def _function_of(job: CompiledJob, prefix: str) -> str:
    """Write the function of ``$worker`` whose body is a job's."""
    # The body starts on a line of its own, so that its lines are the author's plus one.
    if "globalThis" not in job.free:
        state = "let state = $worker.state;" if "state" in job.free else ""
        return f'(async function ($worker) {{"use strict";{prefix}{state}\n{job.body}\n}})'
    # Names that the code adds to its global object are then names of the code.
    head = (
        f'(function ($worker) {{with ($worker.global) return (async function () {{"use strict";'
        f"{prefix}\n"
    )
    return f"{head}{job.body}\n}})()}})"


def _names_from(names: Iterable[str], source: str, kind: str = "const") -> str:
    listed = ", ".join(sorted(names))
    return f"{kind} {{{listed}}} = $worker.{source};" if listed else ""


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
                "constructor": "",
                "isError": False,
                "operates": False,
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


def _lines(step: Step) -> list[str]:
    return re.split(r"\r\n|\n|\r", step.source)


def _position(step: Step, frame: Frame) -> Position:
    line, column = frame.line, frame.column
    lines = _lines(step)
    text = lines[line - 1] if 0 < line <= len(lines) else ""
    # A position in code that the compiler added may lie beyond the author's line.
    within = min(column, len(text) + 1)
    return Position(line=line, column=within, source_line=source_line(text))


def _frame_text(frame: Frame) -> str:
    file = frame.file.partition(":")[2] or frame.file
    return f"at {frame.name or '<anonymous>'} ({file}:{frame.line}:{frame.column})"
