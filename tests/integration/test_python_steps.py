"""Python steps: their output in the log, and the check before a run."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.python_steps import Run, body, returned
from worker.errors import PlanError
from worker.sandbox.python.steps import check_step

# --- what a step says -----------------------------------------------------------------------------


def test_what_a_step_prints_becomes_log_lines() -> None:
    run = Run(body("print('a', 1)", "print('b\\nc')", "print('d', end='')", "print('e')"))
    assert run.logs == [("info", "a 1"), ("info", "b\nc"), ("info", "de")]


def test_an_unfinished_line_is_logged_when_the_step_ends() -> None:
    assert Run(body("print('a', end='')", "state['x']")).logs == [("info", "a")]


def test_printing_into_an_object_of_its_own_logs_nothing() -> None:
    run = returned("[print('a', file=out), out.getvalue()]", "import io\nout = io.StringIO()")
    assert (run.state, run.logs) == ([None, "a\n"], [])


@pytest.mark.parametrize(
    "ending", ["return state", "state['x']", "return {'c': c}", "import os", "eval('1')"]
)
def test_a_coroutine_that_is_never_awaited_is_a_warning_in_the_log(ending: str) -> None:
    run = Run(f"async def f(): pass\n{body('c = f()', ending)}")
    assert ("warn", "RuntimeWarning: coroutine 'f' was never awaited") in run.logs


def test_what_else_the_event_loop_complains_of_is_a_warning_in_the_log() -> None:
    run = Run(
        """
        import asyncio

        async def step(state):
            asyncio.current_task().get_loop().call_exception_handler({"message": "odd"})
            return state
        """
    )
    assert (run.state, run.logs) == ({"data": {"n": 1}}, [("warn", "odd")])


# --- before the run -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def step(state:\n    pass", "job.py:1:9: '(' was never closed"),
        ("x = 1\nreturn x", "job.py:2:1: 'return' outside function"),
        ("def step(state): await x", "job.py:1:18: 'await' outside async function"),
        ("x = '\ud800'", "job.py: "),
        ("x\0", "null bytes"),
        ("x = " + "-" * 100_000 + "1", "job.py: nested too deeply"),
        ("x = a" + ".b" * 50_000, "job.py: a name of more than 100 dots"),
    ],
)
def test_what_python_does_not_understand_is_a_syntax_error(source: str, message: str) -> None:
    with pytest.raises(PlanError) as caught:
        check_step(source, "job.py")
    assert caught.value.type == "SyntaxError"
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "source", ["", "def steps(state): ...", "step = 1", "class A:\n    def step(self): ..."]
)
def test_a_file_without_a_step_is_invalid(source: str) -> None:
    with pytest.raises(PlanError, match="no function 'step'") as caught:
        check_step(source, "job.py")
    assert caught.value.type == "ValidationError"


def test_checking_executes_nothing() -> None:
    check_step("raise SystemExit\ndef step(state): ...", "job.py")


def test_a_byte_order_mark_and_warnings_of_the_compiler_are_no_errors() -> None:
    assert Run("\ufeffx = '\\d' is 1\ndef step(state): return 'x'").state == "x"


def test_importing_python_steps_is_light() -> None:
    # msgspec, which the types of plans are made with, brings datetime and decimal.
    heavy = "{'asyncio', 'networkx', 'logging', 'tree_sitter', 'yaml'}"
    code = (
        f"import sys, worker.sandbox.python.steps as p; sys.exit(len({heavy} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
