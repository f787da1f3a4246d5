"""Output formats: every sample in every format, hostile texts, the command, and the bundle."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import worker
from tests.support.command import WORKER
from tests.support.examples import examples
from tests.support.graph_checks import (
    CHECKS,
    check_layout,
    check_mermaid,
    check_png,
    check_svg,
)
from tests.support.graphs import HOSTILE_TEXTS, annotated, chain
from worker.cli.graph import graph
from worker.errors import LoadError, UsageError, WorkerError
from worker.view.graph.dagre import DagreGraph, run_dagre
from worker.view.graph.drawing import Annotations, draw
from worker.view.graph.formats import FORMATS, format_from_name, render
from worker.view.graph.layout_engine import compute_layout
from worker.view.graph.mermaid import escape_label
from worker.view.graph.text import clean, text_width, wrap
from worker.workflow.load import load, workflow_names

ROOT = Path(__file__).parents[2]
GRAPHS = sorted(
    file
    for file in (ROOT / "graphs").iterdir()
    if file.suffix in (".yaml", ".json") and not re.search(r"\.(cases|input)\.", file.name)
)
SAMPLES = [
    (file, name) for file in GRAPHS for name in (workflow_names(file) or (None,))
]  # fmt: skip
VENDOR = Path(worker.__file__).parent / "view/graph/vendor"


# --- every sample, every format -------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "name"), SAMPLES, ids=[f"{file.stem}-{name}" for file, name in SAMPLES]
)
def test_every_sample_is_drawn_with_nothing_over_anything(file: Path, name: str | None) -> None:
    workflow = load(file, workflow=name)
    for shown in (Annotations(), annotated(workflow)):
        drawing = draw(workflow, shown)
        check_layout(drawing)
        for format in set(FORMATS) - {"png"}:
            CHECKS[format](render(drawing, format))


@pytest.mark.parametrize("name", ["referral.yaml", "join.json"])
def test_png(name: str) -> None:
    pytest.importorskip("resvg_py")
    check_png(render(draw(load(ROOT / "graphs" / name)), "png"))


def test_png_without_its_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(UsageError, match=r"workflow-worker\[png\]"):
        render(draw(load(ROOT / "graphs/join.json")), "png")


# --- texts that want to break out -----------------------------------------------------------------


@pytest.mark.parametrize(
    "format",
    [
        pytest.param(one, marks=pytest.mark.slow if one not in ("svg", "html") else ())
        for one in FORMATS
    ],
)
def test_no_text_breaks_out(format: str) -> None:
    workflow = chain(HOSTILE_TEXTS)
    for shown in (
        Annotations(),
        annotated(workflow, HOSTILE_TEXTS["markup"] + HOSTILE_TEXTS["quotes"]),
    ):
        CHECKS[format](render(draw(workflow, shown), format))
    for text in HOSTILE_TEXTS.values():
        alone = chain({"alone": text})
        CHECKS[format](render(draw(alone, annotated(alone, text)), format))


@pytest.mark.slow
@settings(max_examples=examples(60))
@given(st.text(max_size=60))
def test_no_text_at_all_breaks_out(text: str) -> None:
    workflow = chain({"one": text, "other": f"{text}\n{text}"})
    drawing = draw(workflow, annotated(workflow, text))
    for format in ("svg", "html", "mmd", "dot"):
        CHECKS[format](render(drawing, format))


def test_the_engine_is_given_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[DagreGraph] = []

    def spy(graphs: list[DagreGraph]) -> object:
        seen.extend(graphs)
        return run_dagre(graphs)

    monkeypatch.setattr("worker.view.graph.layout_engine.run_dagre", spy)
    compute_layout(draw(chain(HOSTILE_TEXTS)))
    for graph_ in seen:
        assert all(
            isinstance(value, int | float)
            for row in (*graph_.nodes, *graph_.edges)
            for value in row
        )


def test_texts_are_cleaned_cut_and_wrapped() -> None:
    assert clean("a\x1b[31m\u202eb\n c\u200d") == "a�[31m�b c\u200d"
    assert wrap("Register the patient again", 100, 13, 2) == ("Register the", "patient again")
    assert wrap("aaaa bbbb", 1000, 13, 2) == ("aaaa bbbb",)
    assert wrap("", 100, 13, 2) == ()
    cut = wrap("x" * 10_000, 100, 13, 2)
    assert len(cut) == 2 and cut[1].endswith("…")
    assert all(text_width(line, 13) <= 100 for line in cut)
    assert escape_label("1. a") == "1#46; a" and escape_label('%%"') == "#37;#37;#34;"


# --- the command ----------------------------------------------------------------------------------


def run_graph(*arguments: str | Path) -> int:
    """Run ``worker graph`` in this process and return its exit code; its errors are raised."""
    code: int = graph.main([str(argument) for argument in arguments], standalone_mode=False)
    return code


@pytest.mark.parametrize("format", FORMATS)
def test_the_end_of_the_name_says_the_format(format: str, tmp_path: Path) -> None:
    output = tmp_path / f"x.{format}"
    assert run_graph(ROOT / "graphs/referral.yaml", "--output", output) == 0
    CHECKS[format](output.read_bytes())


def test_without_an_output_it_is_mermaid_on_stdout() -> None:
    done = subprocess.run(
        [*WORKER, "graph", "graphs/join.json"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        env={"PYTHONIOENCODING": "ascii"},
    )
    check_mermaid(done.stdout.decode())
    assert done.stderr == b""


def test_wrong_arguments_are_reported(tmp_path: Path) -> None:
    project, workflow = ROOT / "graphs/vaccination.yaml", ROOT / "graphs/join.json"
    output = tmp_path / "x.svg"
    with pytest.raises(LoadError, match=r"several workflows.*--workflow.*'register-child'"):
        run_graph(project, "--output", output)
    assert run_graph(project, "--workflow", "register-child", "--output", output) == 0
    with pytest.raises(
        UsageError, match=r"x\.gif: unknown suffix 'gif' \(expected one of svg, png"
    ):
        run_graph(workflow, "--output", tmp_path / "x.gif")
    with pytest.raises(click.BadParameter, match="unknown value 'gif' "):
        run_graph(workflow, "--output", output, "--format", "gif")
    (tmp_path / "file").touch()
    with pytest.raises(WorkerError):
        run_graph(workflow, "--output", tmp_path / "file/x.svg")
    assert format_from_name(Path("a.HTM")) == "html" and format_from_name(Path("a.gv")) == "dot"


def test_what_could_not_run_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cycle.json"
    file.write_text(
        '{"workflow": {"name": "w", "steps": [{"id": "a", "next": {"b": true}}, {"id": "b", "next": {"a": true}}]}}'
    )
    assert run_graph(file, "--output", tmp_path / "x.svg") == 0
    assert "the steps form a cycle: a -> b -> a" in capsys.readouterr().err
    check_svg((tmp_path / "x.svg").read_text("utf-8"))


# --- the bundle -----------------------------------------------------------------------------------


def test_the_bundle_has_its_licences_and_short_lines() -> None:
    licences = (VENDOR / "LICENSES.txt").read_text()
    wanted = json.loads((ROOT / "tools/dagre/package.json").read_text())["dependencies"]
    for name, version in wanted.items():
        assert re.search(rf"^{re.escape(name)} {re.escape(version)} \(", licences, re.MULTILINE)
    assert max(map(len, (VENDOR / "dagre.js").read_text().splitlines())) < 4000
