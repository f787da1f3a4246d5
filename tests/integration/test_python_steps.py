"""Python steps: what they return, what becomes of what they raise, and what they cannot reach."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.core.outcome import Outcome, Position, StepError
from worker.errors import PlanError
from worker.sandbox.python.steps import check_step, compile_step, run_step

INPUT: dict[str, Any] = {"data": {"n": 1}, "configuration": {"password": "secret"}}


class Run:
    """The outcome of one step, and what it logged."""

    def __init__(self, source: str, state: Any = INPUT, allowed: tuple[str, ...] = ()) -> None:
        self.logs: list[tuple[str, str]] = []
        step = compile_step(textwrap.dedent(source), "job.py", frozenset(allowed))
        text = state if isinstance(state, str) else json.dumps(state)
        self.outcome: Outcome = run_step(step, "a", text, lambda *line: self.logs.append(line))

    @property
    def state(self) -> Any:
        return None if self.outcome.state is None else json.loads(self.outcome.state)

    @property
    def error(self) -> StepError:
        assert self.outcome.error is not None
        return self.outcome.error


def body(*lines: str) -> str:
    """A step of these lines."""
    return "def step(state):\n" + "".join(f"    {line}\n" for line in lines)


def returned(expression: str, imports: str = "") -> Run:
    """The run of a step that returns an expression, which must succeed."""
    run = Run(f"{imports}\ndef step(state):\n    return {expression}\n")
    assert run.outcome.error is None, run.error
    return run


# --- what a step returns --------------------------------------------------------------------------


def test_a_step_returns_the_next_state() -> None:
    run = Run(body("state['data']['n'] += 1", "return state"))
    assert run.outcome == Outcome(state='{"data":{"n":2}}')


def test_an_async_step_is_awaited() -> None:
    run = Run(
        """
        import asyncio

        async def step(state):
            first, second = await asyncio.gather(double(1), double(2))
            return {"data": [first, second]}

        async def double(n):
            await asyncio.sleep(0)
            return 2 * n
        """
    )
    assert run.state == {"data": [2, 4]}


def test_a_step_that_returns_an_awaitable_is_awaited() -> None:
    run = Run("async def later(state): return {'data': 1}\ndef step(state): return later(state)")
    assert run.state == {"data": 1}


def test_no_output_carries_the_credential_or_the_response() -> None:
    assert returned("{**state, 'response': {'body': 1}}").state == {"data": {"n": 1}}


@pytest.mark.parametrize("nothing", ["None", "False", "0", "0.0", "''", "float('nan')"])
def test_what_is_false_in_javascript_is_nothing(nothing: str) -> None:
    assert returned(nothing).outcome == Outcome(state=None)


@pytest.mark.parametrize("kept", ["42", "'hello'", "[1, 2]", "{}", "[]", "True", "1.5"])
def test_any_other_json_is_kept_as_it_is(kept: str) -> None:
    assert returned(kept).state == eval(kept)


@pytest.mark.parametrize(
    ("imports", "expression", "expected"),
    [
        ("", "(1, 2)", [1, 2]),
        ("", "{'b', 'a', 'c'}", ["a", "b", "c"]),
        ("", "frozenset({10, 9})", [9, 10]),
        ("", "{1, 'a'}", ["a", 1]),
        (
            "",
            "{2: 'a', None: 'b', True: 'c', 1.5: 'd'}",
            {"2": "a", "null": "b", "true": "c", "1.5": "d"},
        ),
        ("", "{(1, 2): 'pair'}", {"(1, 2)": "pair"}),
        ("", "{'x': float('inf'), 'y': float('nan')}", {"x": None, "y": None}),
        ("", "{'x': b'ab'}", {"x": "YWI="}),
        ("", "{'x': bytearray(b'ab')}", {"x": "YWI="}),
        ("", "{'x': {1: 2}.values()}", {"x": [2]}),
        ("", "{'x': range(3)}", {"x": [0, 1, 2]}),
        ("import datetime as d", "[d.date(2020, 1, 2)]", ["2020-01-02"]),
        ("import datetime as d", "[d.datetime(2020, 1, 2, 3)]", ["2020-01-02T03:00:00"]),
        ("import datetime as d", "[d.time(3)]", ["03:00:00"]),
        ("import datetime as d", "{d.date(2020, 1, 2): 1}", {"2020-01-02": 1}),
        ("from decimal import Decimal", "[Decimal('1.10')]", ["1.10"]),
        ("import uuid", "[uuid.UUID(int=1)]", ["00000000-0000-0000-0000-000000000001"]),
        ("from collections import deque", "deque([1])", [1]),
        ("from collections import UserString", "[UserString('ab')]", ["ab"]),
        ("from types import MappingProxyType as M", "M({'a': M({'b': 1})})", {"a": {"b": 1}}),
        ("from enum import Enum\nclass E(Enum): A = (1, 2)", "[E.A]", [[1, 2]]),
        ("from enum import StrEnum\nclass E(StrEnum): A = 'x'", "[E.A, len]", ["x", None]),
        ("from typing import NamedTuple\nclass P(NamedTuple): x: int", "[P(1)]", [[1]]),
    ],
)
def test_python_values_become_json_by_one_rule(
    imports: str, expression: str, expected: Any
) -> None:
    assert returned(expression, imports).state == expected


def test_a_dataclass_becomes_an_object() -> None:
    source = """
        from __future__ import annotations
        from dataclasses import dataclass, field
        from typing import ClassVar

        @dataclass
        class Patient:
            name: str
            visits: list[int] = field(default_factory=list)
            kind: ClassVar[str] = "patient"

        def step(state):
            return Patient("Ada", [1])
    """
    assert Run(source).state == {"name": "Ada", "visits": [1]}


def test_what_is_not_json_is_left_out_with_a_warning() -> None:
    run = returned("{'f': len, 'g': [len, len], 'o': object(), 'n': 1}")
    assert run.state == {"g": [None, None], "n": 1}
    assert run.logs == [
        (
            "warn",
            "state.f was left out: a builtin_function_or_method is not JSON (2 more like it)",
        ),
        ("warn", "state.o was left out: a object is not JSON"),
    ]


def test_a_result_that_is_not_json_at_all_is_nothing() -> None:
    run = Run("def step(state):\n    yield state")
    assert run.outcome == Outcome(state=None)
    assert run.logs == [("warn", "state was left out: a generator is not JSON")]


def test_a_cycle_becomes_a_word() -> None:
    assert Run(body("state['self'] = state", "return state")).state == {
        "data": {"n": 1},
        "self": "[Circular]",
    }
    nested = Run(body("o = {'n': 1}", "o['me'] = [o]", "return {'data': {'o': o}}"))
    assert nested.state == {"data": {"o": {"n": 1, "me": ["[Circular]"]}}}


def test_what_is_merely_shared_is_no_cycle() -> None:
    run = Run(body("o = {'when': {1}}", "return {'a': o, 'b': [o, o]}"))
    assert run.state == {"a": {"when": [1]}, "b": [{"when": [1]}, {"when": [1]}]}


def test_a_lone_surrogate_travels_escaped() -> None:
    run = returned("{'x': 'é' + chr(0xD800)}")
    assert run.outcome.state == '{"x":"é\\ud800"}'


@pytest.mark.parametrize("innermost", ["[]", "{1}"])
def test_a_state_that_is_nested_too_deeply_fails_clearly(innermost: str) -> None:
    run = Run(
        body(f"x = {innermost}", "for _ in range(9999): x = [x]", "state['x'] = x", "return x")
    )
    assert (run.error.type, run.error.name) == ("RangeError", "RecursionError")
    assert run.error.message == "the state is nested too deeply to be JSON"
    assert run.state["data"] == {"n": 1}
    assert "x" not in run.state


def test_an_input_that_is_nested_too_deeply_fails_clearly() -> None:
    depth = 100_000
    run = Run(body("return state"), '{"data":' + "[" * depth + "]" * depth + "}")
    assert run.error.type == "RangeError"
    assert list(run.state) == ["errors"]


@pytest.mark.parametrize(
    ("errors", "errored"),
    [
        ("{'a': {'message': 'x'}}", True),
        ("{'a': {}}", True),
        ("{'a': 'x'}", True),
        ("{'a': None}", False),
        ("{'a': ''}", False),
        ("{'b': {'message': 'x'}}", False),
        ("None", False),
        ("['a']", False),
    ],
)
def test_a_success_is_errored_where_its_state_says_so(errors: str, errored: bool) -> None:
    assert returned(f"{{'errors': {errors}}}").outcome.errored is errored


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip
_IDENTITY = compile_step("def step(state):\n    return state", "identity.py")


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(), _JSON, max_size=6))
def test_any_state_passes_through_unchanged(state: dict[str, Any]) -> None:
    logged: list[str] = []
    outcome = run_step(_IDENTITY, "a", json.dumps(state), lambda *line: logged.append(line[1]))
    expected = {k: v for k, v in state.items() if k not in ("configuration", "response")}
    assert outcome.error is None
    assert outcome.state is not None
    assert json.loads(outcome.state) == expected
    assert logged == []


# --- what becomes of what a step raises -----------------------------------------------------------


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


# --- what a step cannot reach ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "eval('1')",
        "exec('1')",
        "compile('1', 'f', 'eval')",
        "open('/etc/passwd')",
        "input()",
        "breakpoint()",
        "().__class__.__bases__[0].__subclasses__()",
        "step.__globals__",
        "getattr(step, '__globals__')",
        "__builtins__",
        "print.__self__",
        "(i for i in ()).gi_frame.f_back",
        "match step:\n        case object(__globals__=g): pass",
    ],
)
def test_code_from_text_files_and_ways_out_are_a_security_error(line: str) -> None:
    run = Run(body(line))
    assert (run.error.type, run.error.reason) == ("SecurityError", "kill")
    assert run.error.position is not None
    assert run.error.position.line == 2 + line.count("\n")
    assert run.outcome.state is None


def test_a_forbidden_name_kills_before_anything_runs() -> None:
    run = Run("print('ran')\ndef step(state):\n    return state\n\nx = step.__code__")
    assert run.error.message == "__code__ is not available to a step"
    assert run.error.position == Position(line=5, column=5, source_line="x = step.__code__")
    assert run.logs == []


@pytest.mark.parametrize(
    ("line", "module"),
    [
        ("import os", "os"),
        ("import os.path", "os.path"),
        ("from sys import modules", "sys"),
        ("import urllib.request", "urllib.request"),
        ("from urllib import request", "urllib.request"),
        ("from urllib import parse, request", "urllib.request"),
        ("import urllib", "urllib"),
        ("import json.tool", "json.tool"),
        ("import asyncio.subprocess", "asyncio.subprocess"),
        ("import logging", "logging"),
        ("__import__('socket')", "socket"),
    ],
)
def test_a_module_that_is_not_allowed_is_an_import_error(line: str, module: str) -> None:
    run = Run(f"{line}\n{body('return state')}")
    assert (run.error.type, run.error.reason) == ("ImportError", "kill")
    assert module in run.error.message
    assert run.error.position == Position(line=1, column=1, source_line=line)


def test_a_relative_import_is_an_import_error() -> None:
    run = Run(body("from . import helpers"))
    assert (run.error.type, run.error.name) == ("ImportError", "ImportError")


@pytest.mark.parametrize(
    "attempt",
    [
        "try:\n        eval('1')\n    except BaseException:\n        pass",
        "try:\n        import os\n    except:\n        pass",
        "try:\n        import os\n    finally:\n        return state",
        "try:\n        import os\n    except ImportError:\n        pass",
        "with suppress(BaseException):\n        open('x')",
    ],
)
def test_a_step_that_catches_a_refusal_is_killed_nevertheless(attempt: str) -> None:
    run = Run(f"from contextlib import suppress\n{body(attempt, 'return state')}")
    assert run.error.reason == "kill"
    assert run.outcome.state is None


def test_a_step_that_catches_a_refusal_does_not_go_on() -> None:
    attempt = "try:\n        eval('1')\n    except BaseException:\n        print('caught')"
    run = Run(body(attempt, "print('went on')"))
    assert run.error.type == "SecurityError"
    assert run.logs == []
    assert run.error.stack == ("at step (job.py:3:9)",)


def test_a_refusal_that_an_async_step_swallows_kills_it() -> None:
    run = Run(
        """
        import asyncio

        async def step(state):
            await asyncio.gather(bad(), return_exceptions=True)
            return state

        async def bad():
            eval("1")
        """
    )
    assert run.error.type == "SecurityError"


def test_a_refusal_while_an_error_is_described_kills() -> None:
    run = Run(
        """
        class Hostile(Exception):
            def __str__(self): return eval("1")

        def step(state): raise Hostile
        """
    )
    assert (run.error.type, run.outcome.state) == ("SecurityError", None)


def test_a_step_that_catches_its_lack_of_memory_is_killed_nevertheless() -> None:
    attempt = "try:\n        raise MemoryError\n    except MemoryError:\n        pass"
    run = Run(body(attempt, "return state"))
    assert (run.error.type, run.outcome.state) == ("OomError", None)


def test_ordinary_handlers_work() -> None:
    attempt = "try:\n        state['x']\n    except KeyError as e:\n        return {'e': str(e)}"
    assert Run(body(attempt)).state == {"e": "'x'"}


def test_a_safe_module_hides_what_it_imports_itself() -> None:
    hidden = "[hasattr(random, name) for name in ('_os', '_urandom', 'random')]"
    run = returned(hidden, "import random")
    assert run.state == [False, False, True]


def test_a_module_of_which_only_parts_are_safe_shows_only_those() -> None:
    run = Run(f"import asyncio, io, types\n{body('return [dir(m) for m in (io, types)]')}")
    shown = [{name for name in names if not name.startswith("_")} for names in run.state]
    assert shown == [{"BytesIO", "StringIO"}, {"MappingProxyType", "SimpleNamespace"}]
    for name in ("create_subprocess_exec", "open_connection", "get_event_loop", "to_thread"):
        assert Run(f"import asyncio\n{body(f'asyncio.{name}')}").error.name == "AttributeError"


def test_what_a_step_assigns_to_a_safe_module_reaches_nobody_else() -> None:
    Run("import json\n" + body("json.loads = None"))
    assert json.loads("1") == 1
    assert Run("import json\n" + body("return json.loads('1')")).state == 1


def test_steps_share_no_names() -> None:
    Run("x = 1\n" + body("global y", "y = 2"))
    assert Run(body("return [x, y]")).error.type == "ReferenceError"


@pytest.mark.parametrize(
    "source",
    [
        "import urllib.parse\nvalue = urllib.parse.quote(' ')",
        "from urllib import parse\nvalue = parse.quote(' ')",
        "from urllib.parse import quote\nvalue = quote(' ')",
        "import urllib.parse as p\nvalue = p.quote(' ')",
        "from urllib.parse import *\nvalue = quote(' ')",
    ],
)
def test_a_safe_module_inside_an_unsafe_package_can_be_imported(source: str) -> None:
    assert Run(f"{source}\n{body('return value')}").state == "%20"


def test_submodules_of_a_safe_package_can_be_imported() -> None:
    source = """
        import collections.abc
        from collections import abc, OrderedDict
        import json

        def step(state):
            json.decoder.JSONDecodeError
            return [abc is collections.abc, isinstance({}, abc.Mapping), list(OrderedDict(a=1))]
    """
    assert Run(source).state == [True, True, ["a"]]


def test_an_extension_module_may_import_on_behalf_of_a_step() -> None:
    run = returned("str(datetime.strptime('2020', '%Y'))", "from datetime import datetime")
    assert run.state == "2020-01-01 00:00:00"


def test_the_user_can_allow_a_package_with_all_of_it() -> None:
    allowed = Run("import yaml\nfrom yaml import nodes\nimport yaml.resolver\n" + body(
        "return [yaml.safe_load('[1]'), nodes.__name__, yaml.resolver.__name__]"
    ), allowed=("yaml",))  # fmt: skip
    assert allowed.state == [[1], "yaml.nodes", "yaml.resolver"]
    assert Run(f"import yaml\n{body('return 1')}").error.type == "ImportError"


def test_a_submodule_of_an_allowed_package_is_loaded_on_demand() -> None:
    source = f"from wsgiref import util\n{body('return util.__name__')}"
    assert Run(source, allowed=("wsgiref",)).state == "wsgiref.util"
    missing = Run(f"from wsgiref import nothing\n{body('return 1')}", allowed=("wsgiref",))
    assert missing.error.message.startswith("cannot import name 'nothing' from 'wsgiref'")


def test_an_allowed_name_allows_no_name_that_merely_begins_with_it() -> None:
    run = Run(body("import yamllint"), allowed=("yaml",))
    assert run.error.message == "module not allowed: yamllint"


def test_a_module_that_is_allowed_and_missing_is_an_import_error_that_can_be_handled() -> None:
    missing = Run(body("import no_such_module"), allowed=("no_such_module",))
    assert (missing.error.type, missing.error.name) == ("ImportError", "ModuleNotFoundError")
    handled = (
        "try:\n        import no_such_module\n    except ImportError:\n        return 'without'"
    )
    assert Run(body(handled), allowed=("no_such_module",)).state == "without"


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
        ("x = a" + ".b" * 50_000, "job.py: nested too deeply"),
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
    heavy = "{'asyncio', 'networkx', 'logging', 'decimal', 'datetime'}"
    code = (
        f"import sys, worker.sandbox.python.steps as p; sys.exit(len({heavy} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
