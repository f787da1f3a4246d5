"""Python steps: a file with ``def step(state)``, sync or async, that returns the next state.

Exceptions of a step, and the errors that they become:

==================================================  ==============  =======
Python                                              error type      status
==================================================  ==============  =======
``TypeError``, ``AttributeError``                   TypeError       failed
``IndexError``, ``KeyError``, ``OverflowError``,    RangeError      failed
``RecursionError``
any other exception: ``ValueError``, an assertion,  JobError        failed
the author's own, ``SystemExit``
``NameError``, ``UnboundLocalError``                ReferenceError  crashed
``SyntaxError``                                     SyntaxError     crashed
an error in a task that nothing awaits              ExecutionError  crashed
no function ``step`` in the file                    ValidationError crashed
``eval``, ``exec``, ``compile``, ``open`` and kin,  SecurityError   killed
names such as ``__globals__``, ``PermissionError``
of the system
a module that is not allowed, or not there          ImportError     killed
``MemoryError``                                     OomError        killed
==================================================  ==============  =======

A state, or an attribute of the exception, that is nested too deeply is a StateTooLargeError
(killed).

Of a group of exceptions, the first that aborts the run counts, or the only one; otherwise the
group is a JobError. The error's name is the exception's own class.

A step is guarded (:mod:`worker.sandbox.python.guard`); the boundary that confines it is the process
of its run. :mod:`worker.sandbox.python.state` defines the values that it may return. Its printed
output becomes log lines.
"""

from __future__ import annotations

import ast
import io
import json
import re
import sys
import tokenize
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from types import CodeType, ModuleType
from typing import Any

from msgspec.structs import replace

from worker.core.outcome import Outcome, StepError, error_entry, own_error
from worker.errors import PlanError, source_line
from worker.sandbox.limits import too_deep
from worker.sandbox.python.guard import ForbiddenName, Guard, harden
from worker.sandbox.python.state import (
    TooDeepError,
    fields_of,
    is_nothing,
    to_json,
    without_secrets,
)
from worker.sandbox.python.tracebacks import SourceText, forbidden_error, step_error

Log = Callable[[str, str], None]
"""Signature: ``log(level, message)``."""

_MODULE = "__step__"
MAX_NAME_DOTS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledStep:
    """A step's module, compiled and not executed.

    ``forbidden`` is the first forbidden name in its source: such a step is killed when it runs.
    """

    code: CodeType
    source: SourceText
    allowed: frozenset[str]
    forbidden: ForbiddenName | None = None


# --- before the run -----------------------------------------------------------------------------


def check_step(source: str, filename: str) -> None:
    """Check that a step compiles. Raises :class:`PlanError`, as :func:`compile_step` does."""
    # The memory that Python needs to parse these is the square of their length: gigabytes for
    # 80 kB. In the process of a run that is limited; here it is that of all runs.
    if source.count(".") > MAX_NAME_DOTS and _has_long_name(source.removeprefix("\ufeff")):
        text = f"{filename}: a name of more than {MAX_NAME_DOTS} dots (a.b.c ...)"
        raise PlanError(text, type="SyntaxError")
    compile_step(source, filename)


def _has_long_name(source: str) -> bool:
    dots, last, end = 0, "", (0, 0)
    try:
        # Before Python 3.12, a name may come in pieces: its letters that \w lacks are errors, and
        # digits after them are numbers, with their dots.
        for token in tokenize.generate_tokens(io.StringIO(source, newline=None).readline):
            text = token.string
            if token.type == tokenize.COMMENT or (
                text.isspace() and token.type != tokenize.NEWLINE
            ):
                continue
            if not f"a{text.replace('.', '')}".isidentifier():
                # After a character that is no part of Python, the parser reads no further either.
                if token.type == tokenize.ERRORTOKEN:
                    return False
                dots, last = 0, ""
                continue
            if "." not in (last[-1:], text[:1]) and token.start != end:
                dots = 0
            dots, last, end = dots + text.count("."), text, token.end
            if dots > MAX_NAME_DOTS:
                return True
    except (tokenize.TokenError, SyntaxError):
        pass  # the parser reports it, with its place
    return False


def compile_step(source: str, filename: str, allowed: frozenset[str] = frozenset()) -> CompiledStep:
    """Compile a step without executing any of it.

    ``allowed`` are modules that it may import beyond the safe ones, each with its submodules.
    Raises :class:`PlanError`: of type SyntaxError where Python cannot parse the text, of type
    ValidationError where it has no function ``step`` at its top level.
    """
    text = source.removeprefix("\ufeff")
    try:
        code, forbidden = _compile(text, filename)
    except SyntaxError as error:
        line, column = error.lineno or 1, error.offset or 1
        raise PlanError(
            f"{filename}:{line}:{column}: {error.msg}",
            type="SyntaxError",
            line=line,
            column=column,
            source_line=source_line((error.text or "").rstrip("\n")),
        ) from None
    except (RecursionError, MemoryError):
        raise PlanError(f"{filename}: nested too deeply", type="SyntaxError") from None
    except ValueError as error:
        raise PlanError(f"{filename}: {error}", type="SyntaxError") from None
    lines = tuple(re.split(r"\r\n?|\n", text))
    return CompiledStep(
        code=code,
        source=SourceText(file=filename, lines=lines),
        allowed=allowed,
        forbidden=forbidden,
    )


def _compile(text: str, filename: str) -> tuple[CodeType, ForbiddenName | None]:
    # Warnings of the compiler concern the author, and not the person who runs the workflow.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(text, filename)
        forbidden = harden(tree)
        code = compile(tree, filename, "exec", dont_inherit=True)
    if not any(_is_step(statement) for statement in tree.body):
        raise PlanError(
            f"{filename}: no function 'step': a Python step defines 'def step(state)' "
            "(or 'async def') at the top level and returns the next state"
        )
    return code, forbidden


def _is_step(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) and statement.name == "step"
    )


# --- the run --------------------------------------------------------------------------------------


def run_step(step: CompiledStep, step_id: str, input: str, log: Log) -> Outcome:
    """Execute a step over its full input state; input and output are JSON text.

    Every exception of the step becomes an outcome. Only a ``MemoryError`` is raised, where no
    memory is left to build one.
    """
    with _captured(log):
        return _PythonExecution(step, step_id, log).run(input)


class _PythonExecution:
    """One execution of a step, in a module of its own."""

    def __init__(self, step: CompiledStep, step_id: str, log: Log) -> None:
        self._step, self._step_id, self._log = step, step_id, log
        self._guard = Guard(step.allowed)
        self._state: Any = {}
        self._escaped: StepError | None = None

    def run(self, input: str) -> Outcome:
        if self._step.forbidden is not None:
            error = forbidden_error(self._step.forbidden, self._step.source, self._step_id)
            return Outcome(state=None, error=error)
        outcome = self._outcome(input)
        if self._guard.fatal is None:
            return Outcome(state=None, error=self._escaped) if self._escaped else outcome
        error = self._error(self._guard.fatal)
        # Its traceback keeps this execution alive, with all objects of the step, in a cycle.
        self._guard.fatal.__traceback__ = None
        return Outcome(state=None, error=error)

    def _outcome(self, input: str) -> Outcome:
        try:
            self._state = json.loads(input)
            return self._output(self._call())
        except (MemoryError, SystemError) as raised:
            # The traceback keeps alive what filled the memory, so it must go first.
            raised.__traceback__ = None
            return self._failed(self._error(raised), input)
        except TooDeepError:
            return self._too_deep()
        except BaseException as raised:
            return self._failed(self._error(raised), input)

    def _too_deep(self) -> Outcome:
        return Outcome(state=None, error=replace(too_deep(), job_id=self._step_id))

    def _error(self, thrown: BaseException) -> StepError:
        try:
            return step_error(thrown, self._step.source, self._step_id)
        except MemoryError:
            raise
        except BaseException:
            # An exception's own methods are the author's code, and may fail like it.
            text = "an error that cannot be read"
            return StepError(type="JobError", message=text, job_id=self._step_id)

    def _call(self) -> Any:
        # The dataclasses module looks for the module of a class in sys.modules.
        module = sys.modules[_MODULE] = ModuleType(_MODULE)
        namespace = vars(module)
        namespace["__builtins__"] = self._guard.builtins()
        try:
            exec(self._step.code, namespace)  # noqa: S102
            result = namespace["step"](self._state)
            return self._awaited(result) if hasattr(type(result), "__await__") else result
        finally:
            sys.modules.pop(_MODULE, None)
            # A module and its functions refer to each other; nothing of it may outlive the step.
            namespace.clear()

    def _awaited(self, result: Awaitable[Any]) -> Any:
        # Slow to import, so only async steps pay for it.
        import asyncio

        async def main() -> Any:
            asyncio.get_running_loop().set_exception_handler(
                lambda _, context: self._handle_task_error(context)
            )
            return await result

        return asyncio.run(main())

    def _handle_task_error(self, context: dict[str, Any]) -> None:
        """Handle an error in a task that nothing awaited: the step fails by it."""
        thrown = context.get("exception")
        if thrown is None:
            self._warn(context["message"])
            return
        error = self._error(thrown)
        if not error.aborts:
            message = f"uncaught error in a task: {error.message}"
            error = replace(error, type="ExecutionError", message=message)
        self._escaped = self._escaped or error

    def _output(self, result: Any) -> Outcome:
        if is_nothing(result):
            return Outcome(state=None)
        fields = fields_of(result)
        if fields is None:
            return Outcome(state=to_json(result, self._warn))
        errors = fields_of(fields.get("errors"))
        errored = errors is not None and not is_nothing(errors.get(self._step_id))
        text = to_json(without_secrets(fields), self._warn, result)
        error = own_error(errors.get(self._step_id), self._step_id) if errors and errored else None
        return Outcome(state=text, errored=errored, error=error)

    def _failed(self, error: StepError, input: str) -> Outcome:
        if error.aborts:
            return Outcome(state=None, error=error)
        try:
            return Outcome(state=self._failed_state(error, input), errored=True, error=error)
        except TooDeepError:
            return self._too_deep()
        except MemoryError as exhausted:
            return Outcome(state=None, error=self._error(exhausted))

    def _failed_state(self, error: StepError, input: str) -> str | None:
        """Return the input with the step's changes, or without them where these are not JSON."""
        for pristine in (False, True):
            try:
                state = json.loads(input) if pristine else self._state
                return self._with_error(state, error)
            except (MemoryError, TooDeepError):
                raise
            except BaseException:  # noqa: S112
                continue
        return self._with_error({}, error)

    def _with_error(self, state: Any, error: StepError) -> str | None:
        fields = without_secrets(fields_of(state) or {})
        errors = {**(fields_of(fields.get("errors")) or {}), self._step_id: error_entry(error)}
        return to_json({**fields, "errors": errors}, self._warn, state)

    def _warn(self, message: str) -> None:
        self._log("warn", message)


# --- output of a step -----------------------------------------------------------------------------


@contextmanager
def _captured(log: Log) -> Iterator[None]:
    """Redirect printed output and Python's warnings to the log."""
    out, err = _LogStream(log, "info"), _LogStream(log, "error")
    with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = lambda message, category, *_: log(
            "warn", f"{category.__name__}: {message}"
        )
        try:
            yield
        finally:
            out.close()
            err.close()


class _LogStream(io.TextIOBase):
    """Text stream that logs the output of each ``print`` as one entry."""

    def __init__(self, log: Log, level: str) -> None:
        self._log, self._level = log, level
        self._parts: list[str] = []

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._parts.append(text)
        # print() writes its arguments, separators and end one by one, and the end comes last.
        if text.endswith("\n"):
            self._log_parts()
        return len(text)

    def close(self) -> None:
        if any(self._parts):
            self._log_parts()
        super().close()

    def _log_parts(self) -> None:
        text = "".join(self._parts).removesuffix("\n")
        self._parts.clear()
        self._log(self._level, text)
