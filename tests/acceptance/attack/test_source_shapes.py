"""Attacks by the shape of a job's source: the worker compiles it before any limit of a run."""

from __future__ import annotations

import ast
import asyncio
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests.support.helpers import job
from worker import compiler
from worker.compiler.compile_job import compile_job
from worker.compiler.edits import Positions
from worker.compiler.scope import Scope, resolve
from worker.errors import PlanError
from worker.runner import pool, prepare
from worker.runner.pool import Pool
from worker.runner.prepare import Options
from worker.sandbox.python.steps import check_step
from worker.workflow.load import load

Shape = Callable[[int], str]


def nested(before: str, after: str, core: str = "x") -> Shape:
    """Repeat text around a core; ``#`` is the number of the level."""
    return lambda count: (
        "".join(before.replace("#", str(level)) for level in range(count)) + core + after * count
    )


def within(start: str, shape: Shape, end: str) -> Shape:
    return lambda count: start + shape(count) + end


SHAPES: dict[str, Shape] = {
    "parentheses that are spread": within("f(...", nested("(", ")"), ")"),
    "parentheses that are iterated": within("for (let a of ", nested("(", ")"), ") f()"),
    "awaits that are spread": within("f(async () => g(...", nested("await ", ""), "))"),
    "sequences that are called": within("f(", nested("(a, ", ")"), "())"),
    "sequences that are constructed": within("f(new ", nested("(a, ", ")"), "())"),
    "calls of the state": within("f($.a", nested(".b()", "", ""), ")"),
    "names of blocks": nested("{ c#; ", "}"),
    "functions": nested("f(function () { c#; ", "})"),
    "methods of classes": nested("class A { a() { ", "}}"),
    "parameters with defaults": within("f(", nested("(a = ", ") => 1"), ")"),
    "patterns with defaults": within("let ", nested("{a: ", "= 1}", "b"), "= {}"),
    "references to the state": nested("f($.a, ", ")"),
    "assignments in a line": within("f(s => {", nested("a++; [b] = c; ", "", ""), "})"),
    "imports": nested("import {a#} from 'a'; ", "", "f()"),
    "links of promises": within("f()", nested(".then(...a)", "", ""), ""),
}
by_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))


@by_shape
def test_no_shape_ends_the_compiler(shape: Shape) -> None:
    """Tries to end a worker with a RecursionError of its own."""
    assert compile_job(shape(1500)).body


def count_lines(call: Callable[[], Any]) -> int:
    """Count the lines of Python that a call executes: the same number on every machine."""
    count = 0

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


@by_shape
def test_the_time_of_no_shape_is_the_square_of_its_length(shape: Shape) -> None:
    """Tries to keep a worker from its other runs for minutes, with 40 kB."""
    compile_job(shape(1))
    once, twice = (count_lines(partial(compile_job, shape(count))) for count in (150, 300))
    assert twice < 2.3 * once


def test_names_of_nested_scopes_are_in_memory_once() -> None:
    """Tries to fill the memory of a worker: 100 kB of blocks in each other took gigabytes."""
    scopes: list[Scope[int]] = [Scope()]
    for number in range(500):
        scopes.append(Scope(scopes[-1]))
        scopes[-1].used.add(b"%d" % number)
        scopes[-1].called.add(b"%d" % number)
        scopes[-1].dollars.append(number)
    resolve(scopes)
    for name in ("used", "called", "dollars"):
        sizes = [len(getattr(scope, name)) for scope in scopes]
        assert sizes == [500] + [0] * 500


def test_no_handler_looks_for_the_node_around_its_own() -> None:
    """The parser searches for it from the root: nested functions took the square of their depth."""
    assert compiler.__file__ is not None
    for file in Path(compiler.__file__).parent.glob("*.py"):
        tree = ast.parse(file.read_text())
        names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert "parent" not in names or file.name == "scope.py", file


@pytest.mark.parametrize("text", ["a = 1;\nb = 2;", "é = '😀' + x;\n\né" * 200, "", "😀"])
def test_positions_of_characters(text: str) -> None:
    positions = Positions(text.encode())
    for index in range(len(text) + 1):
        before = text[:index]
        offset = len(before.encode())
        assert positions.line(offset) == before.count("\n") + 1
        assert positions.column(offset) == index - (before.rfind("\n") + 1) + 1


@pytest.mark.parametrize("place", ["a job", "a condition", "functions of a workflow"])
async def test_a_long_source_is_compiled_beside_other_runs(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tries to keep a worker from its other runs, and from its broker, with a dense megabyte."""
    filler = "/*" + "a" * prepare.MAX_QUICK_CHARACTERS + "*/"
    condition = f"true {filler} || false" if place == "a condition" else "true"
    steps = [
        {**job("fn(s => s);" + filler * (place == "a job")), "next": {"b": condition}},
        {**job("fn(s => s);"), "id": "b"},
    ]
    plan = {"steps": steps, "globals": filler if place == "functions of a workflow" else ""}
    others_go_on = threading.Event()

    def compile(*arguments: Any) -> Any:
        assert others_go_on.wait(20), "the event loop waits for the compiler"
        return prepare.prepare(*arguments)

    monkeypatch.setattr(pool, "prepare", compile)
    async with Pool(size=1) as runs:
        running = asyncio.create_task(runs.run(load({"workflow": plan}), {}))
        await asyncio.sleep(0)
        others_go_on.set()
        assert (await running).status == "success"
        [compiler] = [thread for thread in threading.enumerate() if "compiler" in thread.name]
    await asyncio.to_thread(compiler.join, 10)
    assert not compiler.is_alive()


NAMES = {
    "an import": "import " + ".".join("a" * 102),
    "lines": "import " + ".\\\n".join("a" * 102),
    "an identifier that is no word": "import " + ".".join("℘" * 102),
    "identifiers of two kinds": "import " + ".".join(["a·1"] * 102),
    "digits of a script": "import " + ".".join(["℘٣"] * 102),
    "a mark of the order of bytes": "\ufeffimport " + ".".join("a" * 102),
    "odd spaces": "import\t" + "\f.\\\n\f \t".join("℘" * 102),
    "after a text": 'x = """\n"""\rimport ' + ".".join("a" * 102),
    "comments": "x = (" + "# a = 1\n.".join("a" * 102) + ")",
    "spaces": "x = 1; from " + " . ".join("é" * 102) + " import b",
}


@pytest.mark.parametrize("source", NAMES.values(), ids=list(NAMES))
def test_a_long_name_of_a_python_step_is_not_parsed(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tries to fill the memory of a worker with 80 kB: Python's parser needs gigabytes for these."""
    monkeypatch.setattr(ast, "parse", None)
    with pytest.raises(PlanError, match="more than 100 dots"):
        check_step(source, "a.py")


SEVERAL = {
    "imports": "import a.b.c\n" * 100,
    "a comment": "# " + "1.2 " * 100,
    "a string": f"x = '{' '.join(f'{number}.' for number in range(150))}'",
    "a long string": f'x = """a{".b" * 150}\n"""',
    "numbers": f"x = [{', '.join(f'{number}.' for number in range(150))}]",
    "words": f"x = a.b{' if a.b else a.b' * 90}",
    "ellipses": f"x = [{'..., ' * 50}]",
    "names in lines": "x.y\n" * 150,
}


@pytest.mark.parametrize("source", SEVERAL.values(), ids=list(SEVERAL))
def test_python_steps_may_have_many_names_with_dots(source: str) -> None:
    check_step(source + "\ndef step(state): return state", "a")


@pytest.mark.parametrize("broken", ["$", "'", "(", "\\ ", '"""', "if 1:\n    a\n  b"])
def test_a_python_step_that_is_broken_is_so_with_dots_too(broken: str) -> None:
    with pytest.raises(PlanError) as raised:
        check_step("x.y\n" * 150 + broken, "a")
    assert raised.value.type == "SyntaxError" and "dots" not in str(raised.value)


def test_a_python_step_has_the_limit_of_a_job() -> None:
    step = {"id": "a", "language": "python", "expression": "a=1\n" * 600_000}
    workflow = load({"workflow": {"steps": [step]}})
    with pytest.raises(PlanError, match="marks and words"):
        prepare.prepare(workflow, {}, Options(), "")
