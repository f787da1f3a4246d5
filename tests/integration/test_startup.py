"""The start of the command: which modules it imports, and how it ends. Times decide nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from worker.sandbox.parent.zygote_ahead import ZYGOTE

ROOT = Path(__file__).resolve().parents[2]
REFERRAL = ("run", "graphs/referral.yaml", "--input", "graphs/referral.input.json")
PLAN = {
    "workflow": {
        "steps": [
            {
                "id": "a",
                "adaptor": "common",
                "expression": "fn(s => s);",
                "next": {"b": "state.data"},
            },
            {"id": "b", "adaptor": "common", "expression": "fn(s => s);"},
        ]
    }
}
# Each takes longer to import than a run takes to start without it.
NEVER = {
    *("networkx", "networkx.generators", "importlib.metadata", "rich", "structlog"),
    *("sqlalchemy", "alembic", "httpx", "aiomqtt", "ruamel.yaml", "jsonpath"),
    *("starlette", "uvicorn", "jinja2", "email", "http.client"),
    *("worker.fleet", "worker.replay", "worker.testing", "worker.view", "worker.lint"),
    *("tempfile", "difflib", "click.shell_completion"),
}
COMPILER = {"tree_sitter", "tree_sitter_javascript", "worker.compiler.compile_job"}
_IMPORT = re.compile(r"import time:\s+\d+ \|\s+\d+ \|\s+(\S+)$", re.MULTILINE)


def worker(
    *arguments: str, options: tuple[str, ...] = (), env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *options, "-m", "worker", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=env or os.environ, capture_output=True, text=True, timeout=100
    )


def imported(*arguments: str, env: Mapping[str, str] | None = None) -> set[str]:
    """Return the modules that a command imports, those that it removes again too."""
    done = worker(*arguments, options=("-X", "importtime"), env=env)
    assert done.returncode == 0, done.stderr
    return set(_IMPORT.findall(done.stderr))


@pytest.mark.slow
def test_the_first_run_compiles(tmp_path: Path) -> None:
    assert imported(*REFERRAL, env={**os.environ, "WORKER_CACHE": str(tmp_path)}) >= COMPILER


def test_a_run_imports_nothing_that_it_does_not_use() -> None:
    # In the cache of all tests, which mostly has the jobs already: to compile takes seconds.
    assert worker(*REFERRAL).returncode == 0
    modules = imported(*REFERRAL)
    assert not modules & (NEVER | COMPILER)
    # The order of its steps shows that there is no cycle.
    assert not {"worker.core.digraph", "networkx.classes.graph"} & modules


@pytest.mark.slow
def test_a_run_that_needs_a_graph_imports_it_without_the_package_around_it(tmp_path: Path) -> None:
    steps = [{"id": id, "expression": "fn(s => s)", "adaptor": "common"} for id in "ba"]
    steps[1]["next"] = "b"
    file = tmp_path / "plan.json"
    file.write_text(json.dumps({"options": {"start": "a"}, "workflow": {"steps": steps}}))
    assert worker("run", str(file)).returncode == 0
    modules = imported("run", str(file))
    assert not modules & (NEVER | COMPILER)
    assert {"worker.core.digraph", "networkx.classes.graph"} <= modules


@pytest.mark.slow
def test_a_json_plan_needs_no_yaml(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(PLAN))
    assert "yaml" not in imported("run", str(file))


@pytest.mark.slow
def test_a_run_starts_one_process_and_uses_the_runner_that_it_forks_ahead() -> None:
    code = """
import gc, sys
sys.addaudithook(lambda event, values: event == "subprocess.Popen" and print("started", values[1]))
from worker.sandbox.parent import zygote_ahead
request = zygote_ahead.request_process
def requested(control, kind, name):
    print("requested", kind, name, gc.isenabled())
    return request(control, kind, name)
zygote_ahead.request_process = requested
from worker.sandbox.parent import runner_client, zygote_client
class Client(runner_client.RunnerClient):
    def __init__(self, *arguments):
        print("used", gc.isenabled())
        super().__init__(*arguments)
from worker.sandbox.parent import process_pool
process_pool.RunnerClient = Client
from worker.cli.entry import main
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code, *REFERRAL], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (started,) = re.findall("^started (.*)", done.stdout, re.MULTILINE)
    assert ZYGOTE in started
    # The run itself has a collector of garbage.
    assert re.findall("^(?:requested|used) .*", done.stdout, re.MULTILINE) == [
        "requested runner ahead True",
        "used True",
    ]


def test_the_process_of_the_runs_starts_before_anything_else_is_imported() -> None:
    code = (
        "import subprocess, sys; sys.argv = ['worker', 'run', 'missing.yaml']\n"
        "from worker.cli import entry\n"
        "def started(*args, **options): print(*sys.modules); sys.exit(0)\n"
        "subprocess.Popen = started; entry.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    late = {"click", "asyncio", "msgspec", "json", "typing", "pathlib"}
    assert not late & set(done.stdout.split())


def test_what_msgspec_does_without_can_be_imported_later() -> None:
    code = (
        "import sys; sys.modules['typing_extensions'] = other = object()\n"
        "from worker.util.quick_import import import_msgspec\n"
        "import_msgspec(); assert sys.modules['typing_extensions'] is other\n"
        "del sys.modules['typing_extensions']\n"
        "import_msgspec(); assert 'msgspec' in sys.modules\n"
        "assert 'typing_extensions' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", ["", "run", "control-plane", "start"])
def test_a_commands_help_imports_only_its_options(command: str) -> None:
    modules = imported(*command.split(), "--help")
    heavy = {"asyncio", "msgspec", "yaml", "subprocess", "dataclasses"}
    assert not modules & (NEVER | COMPILER | heavy)


# --- the graph ------------------------------------------------------------------------------------

_COMPARE = """
import random, sys
from worker.core import digraph as graph
assert "networkx" not in sys.modules, "the fall-back was taken"
import networkx
assert graph.DiGraph is not networkx.DiGraph
for seed in range(300):
    draw = random.Random(seed)
    size = draw.randrange(1, 9)
    edges = [(draw.randrange(size), draw.randrange(size), {"edge": n})
             for n in range(draw.randrange(12))]
    ours, theirs = graph.DiGraph(), networkx.DiGraph()
    for one in (ours, theirs):
        one.add_nodes_from((n, {"step": n}) for n in range(size))
        one.add_edges_from(edges)
    assert list(ours.nodes.items()) == list(theirs.nodes.items())
    assert list(ours.edges.items()) == list(theirs.edges.items())
    acyclic = graph.is_directed_acyclic_graph(ours)
    assert acyclic == networkx.is_directed_acyclic_graph(theirs)
    assert networkx.ancestors(ours, 0) == networkx.ancestors(theirs, 0)
    if not acyclic:
        assert list(networkx.find_cycle(ours)) == list(networkx.find_cycle(theirs))
print("the same")
"""

_CHANGED = """
import sys
from importlib.abc import MetaPathFinder
class Refuse(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "networkx.classes.digraph" and "networkx.lazy_imports" not in sys.modules:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
from worker.core import digraph as graph
import networkx
assert graph.DiGraph is networkx.DiGraph
assert graph.is_directed_acyclic_graph is networkx.is_directed_acyclic_graph
print("the same")
"""

_IMPORTED = """
import networkx
from worker.core import digraph as graph
assert graph.DiGraph is networkx.DiGraph
print("the same")
"""


@pytest.mark.slow
@pytest.mark.parametrize("code", [_COMPARE, _CHANGED, _IMPORTED])
def test_the_graph_is_that_of_networkx(code: str) -> None:
    """Alone it behaves as in the package; a changed package, or an imported one, is taken whole."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert (done.stdout, done.stderr) == ("the same\n", "")


# --- the exit -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "code"),
    [("fn(s => s);", 0), ("fn(s => { throw new Error('no') });", 1), ("fn(s => { x.y });", 3)],
)
def test_exit_codes_and_all_of_a_large_output_are_kept(
    source: str, code: int, tmp_path: Path
) -> None:
    file, journal = tmp_path / "plan.json", tmp_path / "events.jsonl"
    job = f"fn(s => ({{ x: 'y'.repeat(1e6) }}));\n{source}"
    steps = [{"id": "a", "adaptor": "common", "expression": job}]
    file.write_text(json.dumps({"workflow": {"steps": steps}}))
    done = worker("run", str(file), "--json", "--quiet", "--journal", str(journal))
    assert done.returncode == code and done.stderr == ""
    assert done.stdout == journal.read_text()
    assert json.loads(done.stdout.splitlines()[-1])["type"] == "run:complete"


def test_exit_handlers_run_and_threads_are_waited_for() -> None:
    for thread in (
        "",
        "threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start()\n",
    ):
        code = (
            "import atexit, threading, time; from worker.cli.entry import exit_at_once\n"
            f"atexit.register(print, 'handler')\n{thread}"
            "print('output', end=' '); exit_at_once(7); raise SystemExit(7)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=50
        )
        assert done.returncode == 7
        expected = ["output", "thread", "handler"] if thread else ["output", "handler"]
        assert done.stdout.split() == expected


def test_output_that_nobody_reads_is_no_defect() -> None:
    code = (
        "import os, sys; from worker.cli.entry import exit_at_once\n"
        "sys.stdout = open(os.open('/dev/full', os.O_WRONLY), 'w')\n"
        "print('lost'); exit_at_once(0); os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert done.returncode == 71
    assert "No space left on device" in done.stderr


@pytest.mark.parametrize(
    ("command", "shell", "expected"),
    [
        (["run", "absent.json"], '"$@" 2> /dev/full', 2),
        pytest.param(["--version"], '"$@" > /dev/full 2> /dev/full', 71, marks=pytest.mark.slow),
        pytest.param(
            ["run", "absent.json"], '"$@" 2>&1 >&- | true; exit ${PIPESTATUS[0]}', 2,
            marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_messages_that_cannot_be_written_do_not_change_the_exit_code(
    command: list[str], shell: str, expected: int
) -> None:
    worker = [sys.executable, "-m", "worker", *command]
    done = subprocess.run(["bash", "-c", shell, "bash", *worker], timeout=50, check=False)
    assert done.returncode == expected
