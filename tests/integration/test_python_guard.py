"""The guard of Python steps: names and modules that they cannot use."""

from __future__ import annotations

import json

import pytest

from tests.support.python_steps import Run, body, returned
from worker.core.outcome import Position


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
