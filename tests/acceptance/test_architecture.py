"""The hops of a run that the architecture document lists are those of a real run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs/explanation/architecture.md"
MOST_HOPS, MOST_FILES, MOST_MARKS = 23, 14, 6
_ROW = re.compile(r"^\| (\d+) \| `([^`]+)` \| `([^`]+)` \| (.*) \|$", re.MULTILINE)
_MARK = re.compile(r"\*\*(Process border|Queue|Callback)\.\*\*")

Call = tuple[str, str]
"""The function of ours that calls, perhaps through the standard library, and the one it calls."""


@dataclass(frozen=True)
class Hop:
    number: int
    source: str
    target: str
    marked: bool


def hops() -> list[Hop]:
    return [
        Hop(int(number), source, target, bool(_MARK.match(text)))
        for number, source, target, text in _ROW.findall(DOCUMENT.read_text())
    ]


# Both processes run this first. It writes each new call between functions of the package at once:
# the child is killed where the parent is faster. The file is opened early: a run may open none.
TRACER = """
import json, os, sys
package, output = {package!r}, os.open({output!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
calls = set()

def name(frame):
    code = frame.f_code
    return f"{{os.path.relpath(code.co_filename, package)}}:{{code.co_qualname}}"

def trace(frame, event, argument):
    if event != "call" or not frame.f_code.co_filename.startswith(package):
        return
    caller = frame.f_back
    while caller is not None and not caller.f_code.co_filename.startswith(package):
        caller = caller.f_back
    if caller is not None and (call := (name(caller), name(frame))) not in calls:
        calls.add(call)
        os.write(output, (json.dumps(call) + "\\n").encode())

sys.setprofile(trace)
"""
COMMAND = """
import subprocess
from worker.cli.main import main
start = subprocess.Popen

def popen(line, *arguments, **options):
    # The zygote is a module of its own; here it is run with the tracer before it.
    if "worker.sandbox.child.zygote_process" in line:
        at = line.index("-m")
        line = [*line[:at], "-c", {child!r}, *line[at + 2:]]
    return start(line, *arguments, **options)

subprocess.Popen = popen
main()
"""
CHILD = """
from worker.sandbox.child import zygote
# Files are closed and forbidden to a runner, and it must write what is traced.
zygote.forbid_files = lambda: None
zygote.close_all_but = lambda descriptors: None
zygote.main()
"""


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> set[Call]:
    """Run a workflow with the command, and return the calls in the parent and in the child."""
    output = tmp_path_factory.mktemp("trace") / "calls.jsonl"
    tracer = TRACER.format(package=str(ROOT / "worker") + os.sep, output=str(output))
    script = tracer + COMMAND.format(child=tracer + CHILD)
    files = ["graphs/referral.yaml", "--input", "graphs/referral.input.json"]
    done = subprocess.run(
        [sys.executable, "-c", script, "run", *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    lines = (json.loads(line) for line in output.read_text().splitlines())
    return {(source, target) for source, target in lines}


def test_the_journey_is_short() -> None:
    names = [name for hop in hops() for name in (hop.source, hop.target)]
    assert [hop.number for hop in hops()] == list(range(1, len(hops()) + 1))
    assert 10 < len(hops()) <= MOST_HOPS
    assert len({name.partition(":")[0] for name in names}) <= MOST_FILES
    assert sum(hop.marked for hop in hops()) <= MOST_MARKS


def test_each_hop_starts_where_the_journey_has_been() -> None:
    known = {hops()[0].source}
    for hop in hops():
        assert hop.source in known, hop
        known.add(hop.target)


def test_each_function_calls_the_next_in_a_real_run(calls: set[Call]) -> None:
    wrong = [hop for hop in hops() if not hop.marked and (hop.source, hop.target) not in calls]
    assert not wrong


@pytest.mark.slow
def test_functions_at_a_border_run_and_do_not_call_each_other(calls: set[Call]) -> None:
    running = {name for call in calls for name in call}
    for hop in hops():
        if hop.marked:
            assert {hop.source, hop.target} <= running, hop
            assert (hop.source, hop.target) not in calls, hop


def test_the_glossary_has_some_thirty_terms_in_order() -> None:
    glossary = DOCUMENT.read_text().split("## Glossary")[1]
    terms = re.findall(r"^\| ([a-z][^|]*) \|", glossary, re.MULTILINE)[1:]
    assert terms == sorted(terms) and 25 <= len(terms) <= 40
