"""Case files as tests of pytest, for the plugin ``pytest_workflow_worker``."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from worker.testing.case import Case
    from worker.testing.case_runner import CaseResult
    from worker.testing.fixtures import WorkflowUnderTest


def load_marked(request: pytest.FixtureRequest) -> WorkflowUnderTest:
    """Load the workflow that a test's marker names."""
    from worker.errors import WorkerError
    from worker.testing.fixtures import WorkflowUnderTest
    from worker.workflow.load import load

    marker = request.node.get_closest_marker("workflow")
    if marker is None or not marker.args:
        pytest.fail("no workflow file: mark the test @pytest.mark.workflow('FILE')", pytrace=False)
    file = request.config.rootpath / marker.args[0]
    try:
        return WorkflowUnderTest(workflow=load(file, workflow=marker.kwargs.get("pick")))
    except WorkerError as error:
        pytest.fail(str(error), pytrace=False)


class CaseFile(pytest.File):
    """Case file, collected as one test per case."""

    def collect(self) -> Iterator[pytest.Item]:
        """Yield a test for each case; a mistake in the file is an error of collection."""
        from worker.errors import LoadError
        from worker.testing.case_reader import load_cases

        try:
            cases = load_cases(self.path, notify=_warn)
        except LoadError as error:
            raise self.CollectError(str(error)) from error
        for case in cases:
            yield CaseItem.from_parent(self, name=case.name, case=case)


def _warn(text: str) -> None:
    # Shown in pytest's summary of warnings, but never an error: under `-W error` a file that still
    # works would not be collected.
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(text, FutureWarning, stacklevel=2)


class Mismatch(Exception):
    """A case did not meet its expectation."""


class CaseItem(pytest.Item):
    """Test that runs one case."""

    def __init__(self, *, case: Case, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._case = case

    def runtest(self) -> None:
        from worker.testing.case_runner import run_case

        result = run_case(self._case)
        if result.mismatches:
            raise Mismatch("\n".join([*result.mismatches, *self._record(result)]))
        if count := self.config.getoption("workflow_flaky"):
            self._vary(count)

    def _record(self, result: CaseResult) -> Iterator[str]:
        from worker.testing.failure_recording import record_failure

        folder = self.config.getoption("workflow_record")
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            if (file := record_failure(result, folder)) is not None:
                yield f"recorded {file} (open it: worker report FILE)"

    def _vary(self, count: int) -> None:
        from worker.testing.proofs import find_flaky

        for flaky in find_flaky([self._case], count):
            if flaky.fails:
                raise Mismatch(f"with {flaky.cause.value} ({flaky.detail}):\n{flaky.message}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        # A mismatch is about the workflow: a traceback through this package would hide it.
        if isinstance(excinfo.value, Mismatch):
            return f"{self._case.file}:{self._case.line}: {self._case.name}\n{excinfo.value}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self._case.line - 1, self.name
