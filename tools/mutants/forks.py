"""Process that runs tests in forks of itself, which have all but the project's own code loaded.

It reads a request a line from its standard input, and writes a reply a line. A fork imports the
project's modules anew, and so the one that was changed.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import coverage
import pytest

OWN = ("worker", "tests", "conftest", "pytest_workflow_worker", "__main__", "tools")
OPTIONS = (
    "-x", "-q", "-n", "0", "-m", "not slow", "-p", "no:cacheprovider", "--no-header",
    # Plugins are loaded before the fork.
    "-W", "ignore::pytest.PytestAssertRewriteWarning",
)  # fmt: skip


class _Observer:
    """Plugin that notes which test executes which line of a module, and the time of each."""

    def __init__(self, module: str) -> None:
        self._module = module
        self._coverage = coverage.Coverage(data_file=None, config_file=False, include=[module])
        self.seconds: dict[str, float] = {}
        self._coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        self._coverage.switch_context(item.nodeid)
        began = time.monotonic()
        result = yield
        self.seconds[item.nodeid] = time.monotonic() - began
        self._coverage.switch_context("")
        return result

    def lines(self) -> dict[int, list[str]]:
        """Return the tests of each line that was executed; none if that was at its import."""
        self._coverage.stop()
        contexts = self._coverage.get_data().contexts_by_lineno(self._module)
        return {line: [test for test in tests if test] for line, tests in contexts.items()}


class _Order:
    """Plugin that runs some tests first."""

    def __init__(self, first: list[str]) -> None:
        self._places = {test: place for place, test in enumerate(first)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: self._places.get(item.nodeid, len(self._places)))


def _observe(request: dict[str, Any]) -> dict[str, Any]:
    observer = _Observer(request["observe"])
    passed = pytest.main([*OPTIONS, *request["tests"]], plugins=[observer]) == 0
    modules = [name for name in sys.modules if name.partition(".")[0] not in OWN]
    lines = observer.lines()
    return {"passed": passed, "seconds": observer.seconds, "lines": lines, "modules": modules}


def _test(request: dict[str, Any]) -> dict[str, Any]:
    plugins = [_Order(request["first"])]
    return {"passed": pytest.main([*OPTIONS, *request["tests"]], plugins=plugins) == 0}


def _in_fork(request: dict[str, Any], answer: Path) -> dict[str, Any]:
    """Handle a request in a fork. One that takes too long, or ends without a reply, has failed."""
    answer.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        os.setsid()
        reply = (_observe if "observe" in request else _test)(request)
        answer.write_text(json.dumps(reply))
        os._exit(0)
    end = time.monotonic() + request["limit_s"]
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() > end:
            break
        time.sleep(0.01)
    # Also what the tests have started and not ended. Not waited for before, as the number of the
    # group would be free.
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return dict(json.loads(answer.read_text())) if answer.exists() else {"passed": False}


def main() -> None:
    """Handle requests until the input ends."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for line in sys.stdin:
        reply = _in_fork(json.loads(line), Path(sys.argv[1]))
        for name in reply.pop("modules", ()):
            with suppress(Exception):
                importlib.import_module(name)
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
