"""pytest collects ``*.cases.yaml`` as tests, one for each case, and gives Python tests the fixture
``workflow``: the one that ``@pytest.mark.workflow(FILE, pick=NAME)`` names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from worker.testing.case import Case
    from worker.testing.fixtures import WorkflowUnderTest

# Here too, so that pytest starts without the worker: the same suffixes as in scenario.py.
SUFFIXES = (".cases.yaml", ".cases.yml", ".cases.json")


def pytest_configure(config: pytest.Config) -> None:
    text = "workflow(file, pick=None): the workflow that the fixture of this name loads"
    config.addinivalue_line("markers", text)


@pytest.fixture
def workflow(request: pytest.FixtureRequest) -> WorkflowUnderTest:
    """The workflow that the test's marker names, relative to where pytest was started."""
    from worker.testing.fixtures import WorkflowUnderTest
    from worker.workflow.load import load

    marker = request.node.get_closest_marker("workflow")
    if marker is None:
        pytest.fail("say which workflow: @pytest.mark.workflow('graphs/referral.yaml')")
    file = request.config.rootpath / marker.args[0]
    return WorkflowUnderTest(workflow=load(file, workflow=marker.kwargs.get("pick")))


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.name.endswith(SUFFIXES):
        file: pytest.Collector = CasesFile.from_parent(parent, path=file_path)
        return file
    return None


class CasesFile(pytest.File):
    """A file of cases; a mistake in it is an error of collection."""

    def collect(self) -> Iterator[pytest.Item]:
        from worker.errors import LoadError
        from worker.testing.cases import load_cases

        try:
            cases = load_cases(self.path)
        except LoadError as error:
            raise self.CollectError(str(error)) from error
        for case in cases:
            yield CaseItem.from_parent(self, name=case.name, case=case)


class Mismatch(Exception):
    """A case is not as expected."""


class CaseItem(pytest.Item):
    """One case."""

    def __init__(self, *, case: Case, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._case = case

    def runtest(self) -> None:
        from worker.testing.runner import run_case

        if found := run_case(self._case).mismatches:
            raise Mismatch("\n".join(found))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, Mismatch):
            return f"{self._case.file}:{self._case.line}: {self._case.name}\n{excinfo.value}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self._case.line - 1, self.name
