"""Branches of the package that an input reaches, from the interpreter's own events."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

PACKAGE = str(Path(__file__).parents[2] / "worker") + "/"
Branch = tuple[CodeType, int, int]
FAMILIAR_CALLS = 100
"""Calls of a function without a new branch, after which it is traced in one call of 32."""


class Branches:
    """Set of all branches that were reached while :meth:`recorded` was active."""

    def __init__(self) -> None:
        self.reached: set[Branch] = set()
        self._familiar: Counter[CodeType] = Counter()

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Add the branches that the block reaches."""
        # The newer interface costs a tenth, as it has no call for each line.
        if sys.version_info >= (3, 12):
            with self._monitored():
                yield
        else:
            with self._traced():
                yield

    @contextmanager
    def _traced(self) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self._on_call)
        try:
            yield
        finally:
            sys.settrace(before)

    def _on_call(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE):
            return None
        # Tracing takes ten times as long as the call, and most calls show nothing new.
        self._familiar[code] += 1
        calls = self._familiar[code]
        if calls > FAMILIAR_CALLS and calls % 32:
            return None
        last, reached = 0, self.reached

        def on_line(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal last
            if event == "line":
                branch = (code, last, frame.f_lineno)
                last = frame.f_lineno
                if branch not in reached:
                    reached.add(branch)
                    self._familiar[code] = 0
            return on_line

        return on_line

    if sys.version_info >= (3, 12):

        @contextmanager
        def _monitored(self) -> Iterator[None]:
            monitoring = sys.monitoring
            tool, event = monitoring.COVERAGE_ID, monitoring.events.BRANCH
            monitoring.use_tool_id(tool, "fuzz")
            monitoring.register_callback(tool, event, self._on_branch)
            monitoring.set_events(tool, event)
            try:
                yield
            finally:
                monitoring.set_events(tool, 0)
                monitoring.free_tool_id(tool)

        def _on_branch(self, code: CodeType, offset: int, destination: int) -> Any:
            if not code.co_filename.startswith(PACKAGE):
                return sys.monitoring.DISABLE
            self.reached.add((code, offset, destination))
            return None
