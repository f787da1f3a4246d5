"""Errors of Python steps: type, status, position and the state that they leave."""

from __future__ import annotations

import pytest

from tests.support.python_steps import INPUT, Run, body
from worker.core.outcome import Outcome, Position


@pytest.mark.parametrize(
    ("line", "type", "name", "message"),
    [
        ("state['data']['n']['x']", "TypeError", "TypeError", "'int' object is not subscriptable"),
        ("state.data", "TypeError", "AttributeError", "'dict' object has no attribute 'data'"),
        ("state['age']", "RangeError", "KeyError", "KeyError: 'age'"),
        ("[1, 2][5]", "RangeError", "IndexError", "list index out of range"),
        ("2.0 ** 5000", "RangeError", "OverflowError", None),
        ("step(state)", "RangeError", "RecursionError", "Maximum recursion depth exceeded"),
        ("raise ValueError('no')", "JobError", "ValueError", "no"),
        ("raise ValueError", "JobError", "ValueError", "ValueError"),
        ("assert not state", "JobError", "AssertionError", "AssertionError"),
        ("1 / 0", "JobError", "ZeroDivisionError", "division by zero"),
        ("import json; json.loads('{')", "JobError", "JSONDecodeError", None),
        ("raise SystemExit(3)", "JobError", "SystemExit", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "JobError", "KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise GeneratorExit", "JobError", "GeneratorExit", "GeneratorExit"),
        ("raise ExceptionGroup('g', [KeyError(1)])", "RangeError", "KeyError", "KeyError: 1"),
        (
            "raise ExceptionGroup('g', [KeyError(1), KeyError(2)])",
            "JobError",
            "ExceptionGroup",
            "g (2 sub-exceptions)",
        ),
    ],
)
def test_a_failure_keeps_the_walk_going(
    line: str, type: str, name: str, message: str | None
) -> None:
    run = Run(body(line))
    assert (run.error.type, run.error.name, run.error.reason) == (type, name, "fail")
    assert message is None or run.error.message == message
    assert run.outcome.errored
    assert run.state["data"] == {"n": 1}


@pytest.mark.parametrize(
    ("line", "type", "name"),
    [
        ("patient", "ReferenceError", "NameError"),
        ("n = n + 1", "ReferenceError", "UnboundLocalError"),
        ("exit()", "ReferenceError", "NameError"),
        ("raise SyntaxError('x')", "SyntaxError", "SyntaxError"),
        ("from json import nope", "ImportError", "ImportError"),
        ("raise ImportError('x')", "ImportError", "ImportError"),
        ("raise MemoryError", "OomError", ""),
        ("raise SystemError('error return without exception set')", "OomError", ""),
        ("raise ExceptionGroup('g', [KeyError(1), NameError()])", "ReferenceError", "NameError"),
        ("raise ExceptionGroup('g', [ExceptionGroup('h', [MemoryError()])])", "OomError", ""),
    ],
)
def test_an_abort_has_no_state(line: str, type: str, name: str) -> None:
    run = Run(body(line))
    assert (run.error.type, run.error.name) == (type, name)
    assert run.error.aborts
    assert run.outcome == Outcome(state=None, error=run.error)


def test_a_failed_step_passes_on_its_input_with_its_changes_and_its_error() -> None:
    source = """
        class NotFound(Exception):
            def __init__(self, message, code):
                super().__init__(message)
                self.code = code
                self._request = object()
                self.response = object()

        def step(state):
            state["seen"] = True
            raise NotFound("no such patient", 404)
    """
    run = Run(source, {**INPUT, "errors": {"before": {"message": "x"}}})
    assert run.error.details == {"code": 404}
    assert run.state == {
        "data": {"n": 1},
        "seen": True,
        "errors": {
            "before": {"message": "x"},
            "a": {
                "source": "runtime",
                "name": "JobError",
                "subtype": "NotFound",
                "severity": "fail",
                "message": "no such patient",
                "position": {"line": 11, "column": 5},
                "details": {"code": 404},
            },
        },
    }


def test_changes_that_are_not_json_leave_the_input_as_it_was() -> None:
    source = """
        from collections import UserDict

        class Hostile(UserDict):
            def __iter__(self):
                raise ValueError("not for you")

        def step(state):
            state["seen"] = Hostile()
            raise ValueError("x")
    """
    run = Run(source)
    assert run.state["data"] == {"n": 1}
    assert "seen" not in run.state
    assert run.error.message == "x"


def test_memory_that_runs_out_while_the_state_is_written_is_an_oom_error() -> None:
    source = """
        from collections import UserDict

        class Huge(UserDict):
            def __iter__(self):
                raise MemoryError

        def step(state):
            state["seen"] = Huge()
            {ending}
    """
    for ending in ("return state", "raise ValueError"):
        run = Run(source.replace("{ending}", ending))
        assert (run.error.type, run.outcome.state) == ("OomError", None)


@pytest.mark.parametrize("method", ["return 1", "raise ValueError", "raise SystemExit"])
def test_an_error_that_cannot_be_read_is_still_a_failure(method: str) -> None:
    run = Run(
        f"""
        class Hostile(Exception):
            def __str__(self): {method}

        def step(state): raise Hostile
        """
    )
    assert (run.error.type, run.error.message) == ("JobError", "an error that cannot be read")
    assert run.outcome.errored


def test_an_error_at_the_top_of_the_file_is_the_steps_own() -> None:
    run = Run("data = {}['age']\ndef step(state): return state")
    assert (run.error.type, run.error.position) == (
        "RangeError",
        Position(line=1, column=8, source_line="data = {}['age']"),
    )
    assert run.state["data"] == {"n": 1}


def test_the_position_is_that_of_the_innermost_frame_in_the_steps_own_file() -> None:
    source = (
        "import json\n"
        "def parse(text):\n"
        "    é = 'é'; return json.loads(text)\n"
        "\n"
        "def step(state):\n"
        "    return parse('{')\n"
    )
    run = Run(source)
    expected = "    é = 'é'; return json.loads(text)"
    assert run.error.position == Position(line=3, column=21, source_line=expected)
    assert run.error.stack == ("at parse (job.py:3:21)", "at step (job.py:6:12)")


def test_lines_are_counted_as_python_does() -> None:
    run = Run("# a\r\n# b\x0c\r# c\ndef step(state):\r\n    state.x\r\n")
    assert run.error.position == Position(line=5, column=5, source_line="    state.x")


def test_the_stack_has_an_end() -> None:
    assert len(Run(body("step(state)")).error.stack) == 10


def test_a_step_without_a_parameter_fails_as_python_says() -> None:
    run = Run("def step(): pass")
    assert run.error.message == "step() takes 0 positional arguments but 1 was given"


@pytest.mark.parametrize(
    ("line", "type", "message"),
    [
        ("raise ValueError('unseen')", "ExecutionError", "uncaught error in a task: unseen"),
        ("nowhere", "ReferenceError", "name 'nowhere' is not defined"),
    ],
)
def test_an_error_in_a_task_that_nothing_awaits_crashes(line: str, type: str, message: str) -> None:
    run = Run(
        f"""
        import asyncio

        async def bad():
            {line}

        async def step(state):
            task = asyncio.create_task(bad())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return state
        """
    )
    assert (run.error.type, run.error.message) == (type, message)
    assert run.error.position is not None
    assert run.error.position.line == 5
    assert (run.outcome.state, run.error.reason) == (None, "crash")
