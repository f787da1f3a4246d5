"""pytest plugin of the workflow worker, which steps aside in projects with a module ``worker``.

Apart from the package, because pytest loads it in every project of an environment: ``worker`` may
be the project's own module there. It imports the package only when a test needs it.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from worker.testing.fixtures import WorkflowUnderTest

# A copy of worker.testing.case.SUFFIXES, which a test compares.
SUFFIXES = (".cases.yaml", ".cases.yml", ".cases.json")
OURS = Path(__file__).with_name("worker")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("workflow-worker")
    group.addoption("--workflow-record", metavar="DIR", type=Path,
                    help="keep a recording of each case that fails in DIR")  # fmt: skip
    group.addoption("--workflow-flaky", metavar="N", type=int, default=0,
                    help="run each case N times at other times, with other random numbers and with "
                         "other delays of replies")  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    text = "workflow(file, pick=None): the workflow file that the fixture 'workflow' loads"
    config.addinivalue_line("markers", text)


def pytest_report_header(config: pytest.Config) -> str | None:
    """Return the reason why the plugin steps aside, if it does."""
    other = other_worker(config)
    return None if other is None else f"workflow-worker: {reason(other)}"


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if not file_path.name.endswith(SUFFIXES):
        return None
    if other_worker(parent.config, file_path.parent) is not None:
        # Its reason is in the header: a warning would be an error under `-W error`.
        return None
    from worker.testing.pytest_plugin import CaseFile

    file: pytest.Collector = CaseFile.from_parent(parent, path=file_path)
    return file


@pytest.fixture
def workflow(request: pytest.FixtureRequest) -> WorkflowUnderTest:
    """Workflow of the marker ``@pytest.mark.workflow(FILE, pick=NAME)``.

    FILE is relative to pytest's root folder; NAME picks a workflow of a project, by key, id or
    name. The fixture is a :class:`worker.testing.WorkflowUnderTest`.
    """
    other = other_worker(request.config, request.path.parent)
    if other is not None:
        pytest.fail(reason(other), pytrace=False)
    from worker.testing.pytest_plugin import load_marked

    return load_marked(request)


def reason(other: str) -> str:
    return (
        f"this project has its own module 'worker' ({other}), so case files and the fixture "
        "'workflow' are not available (the command `worker test` runs case files)"
    )


def other_worker(config: pytest.Config, *folders: Path) -> str | None:
    """Return the place of a module ``worker`` that is not ours, as tests of a project see it."""
    loaded: Any = sys.modules.get("worker")
    if loaded is not None:
        file = getattr(loaded, "__file__", None)
        return None if file and Path(file).parent == OURS else str(file)
    roots = [config.rootpath, config.invocation_params.dir, *folders]
    # pytest puts the folder of a test before all others on the path, but not before it collects.
    places = [*map(str, roots), *map(str, config.getini("pythonpath")), *sys.path]
    spec = PathFinder.find_spec("worker", list(dict.fromkeys(places)))
    origin = None if spec is None else spec.origin
    return None if origin is None or Path(origin).parent == OURS else origin
