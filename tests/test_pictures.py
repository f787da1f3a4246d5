"""Pictures: every format, nothing that can break out, nothing that covers anything else."""

from __future__ import annotations

import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import worker
from tests.test_statuses import ROOT, WORKER
from worker.commands.graph import FORMATS
from worker.pictures.drawing import Drawing, Tone, draw
from worker.pictures.layout import BOX_HEIGHT, LABEL_HEIGHT, label_width, lay_out
from worker.pictures.mermaid import dot, mermaid
from worker.pictures.svg import html, svg
from worker.plan.load import load, workflow_names
from worker.testing.coverage import measure
from worker.testing.picture import marks_of

SAMPLES = [
    (file, name)
    for file in sorted((ROOT / "graphs").glob("*.*"))
    if file.suffix in (".yaml", ".json")
    and ".cases." not in file.name
    and ".input." not in file.name
    for name in (workflow_names(file) or (None,))
]
HOSTILE = [
    "</svg><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "a\nb\r\x00\x1b[31m",
    "%%{init: {}}%%",
    "]]> -->",
    "‮evil",
    "x" * 10_000,
    '\\" } node [label=evil',
    "click n0 href 'javascript:alert(1)'",
]


def hostile(text: str) -> worker.Workflow:
    label = text.replace("\x00", "")
    steps = [
        {"id": "a", "name": label, "adaptor": label[:100], "expression": "fn(s => s);", "next": {"b": {"condition": "state.x", "label": label}}},
        {"id": "b", "expression": "fn(s => s);"},
    ]  # fmt: skip
    return worker.load({"workflow": {"name": label, "steps": steps}})


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(("file", "name"), SAMPLES, ids=[f"{f.name}:{n}" for f, n in SAMPLES])
def test_every_sample_is_drawn_in_every_format(file: Path, name: str | None, format: str) -> None:
    workflow = load(file, workflow=name)
    text = FORMATS[format](draw(workflow))
    assert len(text) > 60
    # Whatever writes it, a step's name can be found in it.
    words = re.sub(r"[^a-z]", "", text.lower())
    assert all(
        re.sub(r"[^a-z]", "", (s.name or s.id).lower())[:12] in words for s in workflow.steps
    )


def tags_of(page: str) -> set[str]:
    """The elements that a browser would see."""
    found: set[str] = set()

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:
            found.add(tag)
            assert not any(name.startswith("on") for name, _ in attrs)

    Tags().feed(page)
    return found


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_in_a_workflow_can_break_out(text: str) -> None:
    drawing = draw(hostile(text))
    tree = ElementTree.fromstring(svg(drawing))
    tags = {element.tag.partition("}")[2] for element in tree.iter()}
    assert tags <= {"svg", "style", "defs", "marker", "path", "g", "rect", "text", "title"}
    assert not any(
        name.startswith("on") or "href" in name for e in tree.iter() for name in e.attrib
    )
    page = html(drawing)
    assert tags_of(page) <= tags | {"html", "head", "meta", "title", "style", "body", "h1", "main"}
    assert "default-src 'none'" in page
    for line in mermaid(drawing).splitlines():
        assert re.fullmatch(r"flowchart TD|  [\w#;&<>br .\-\[\](){}\"|,:]*", line), line
    assert not any(line.strip().startswith("click") for line in mermaid(drawing).splitlines())
    # Each line of DOT is one statement: what is quoted stays quoted.
    body = dot(drawing).splitlines()[2:-1]
    assert len(body) == 3 and all(
        re.sub(r'"(\\.|[^"\\])*"', '""', one).count('"') % 2 == 0 for one in body
    )


def test_shapes_and_words_tell_what_colours_do() -> None:
    steps: list[Any] = [
        {"id": "t", "type": "cron", "cron_expression": "0 3 * * *", "next": {"a": True}},
        {"id": "a", "expression": "fn(s => s);", "next": {"b": "on_job_failure", "c": {"condition": "always", "disabled": True}, "d": False}},
        *({"id": id, "expression": "fn(s => s);"} for id in "bcd"),
    ]  # fmt: skip
    drawing = draw(worker.load({"workflow": {"name": "w", "steps": steps}}))
    assert [(one.style, one.label) for one in drawing.arrows] == [
        ("always", ""),
        ("failure", "on failure"),
        ("disabled", "off"),
        ("never", "never"),
    ]
    assert drawing.boxes[0].kind == "trigger" and drawing.boxes[0].subtitle == "cron 0 3 * * *"


def test_a_workflow_that_could_not_run_is_drawn_all_the_same() -> None:
    steps = [
        {"id": "a", "expression": "x", "next": "b"},
        {"id": "b", "expression": "x", "next": {"a": True, "gone": True}},
    ]
    drawing = draw(worker.load({"workflow": {"name": "w", "steps": steps}}))
    assert [box.kind for box in drawing.boxes] == ["job", "job", "missing"]
    assert "no such step" in svg(drawing)


# --- the layout -----------------------------------------------------------------------------------


@st.composite
def drawings(draw_: st.DrawFn) -> Drawing:
    count = draw_(st.integers(1, 40))
    steps = []
    for place in range(count):
        later = st.integers(min(place + 1, count - 1), count - 1)
        targets = draw_(st.lists(later, max_size=3, unique=True)) if place < count - 1 else []
        words = st.sampled_from(["always", "on_job_success", "state.data.value > 100", "state.x"])
        next = {f"s{target}": {"condition": draw_(words)} for target in targets}
        steps.append({"id": f"s{place}", "name": "n" * draw_(st.integers(1, 40)), "expression": "x", "next": next})  # fmt: skip
    return draw(worker.load({"workflow": {"name": "w", "steps": steps}}))


Rectangle = tuple[float, float, float, float]


def around(centre: tuple[float, float], width: float, height: float) -> Rectangle:
    x, y = centre
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def overlap(one: Rectangle, other: Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@settings(max_examples=25)
@given(drawings())
def test_no_box_covers_another_and_no_label_a_box(drawing: Drawing) -> None:
    found = lay_out(drawing)
    boxes = [around(at, w, BOX_HEIGHT) for at, w in zip(found.boxes, found.widths, strict=True)]
    for number, box in enumerate(boxes):
        assert not any(overlap(box, other) for other in boxes[number + 1 :])
        assert box[0] >= 0 and box[1] >= 0 and box[2] <= found.width and box[3] <= found.height
    for arrow, at in zip(drawing.arrows, found.labels, strict=True):
        if arrow.label:
            label = around(at, label_width(arrow), LABEL_HEIGHT)
            assert not any(overlap(label, box) for box in boxes)


def test_edges_go_down(tmp_path: Path) -> None:
    drawing = draw(load(ROOT / "graphs" / "referral.yaml"))
    found = lay_out(drawing)
    for arrow in drawing.arrows:
        assert found.boxes[arrow.source][1] < found.boxes[arrow.target][1]


# --- coverage -------------------------------------------------------------------------------------


def test_coverage_is_drawn_on_the_graph() -> None:
    workflow = load(ROOT / "graphs" / "join.json")
    result = worker.run(workflow, {"data": {}})
    marks = marks_of(workflow, measure(workflow, [result]))
    tones = {id: mark.tone for id, mark in marks.steps.items()}
    assert Tone.MISSED in tones.values() or Tone.PARTLY in tones.values()
    first = next(iter(marks.steps.values()))
    assert first.badge in ("✓·", "·✗") and "times" in first.note


def test_the_commands_write_pictures(tmp_path: Path) -> None:
    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [*WORKER, *arguments]
        return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=50)

    assert command("graph", "graphs/referral.yaml").stdout.startswith("flowchart TD")
    for suffix in FORMATS:
        target = tmp_path / f"x.{suffix}"
        assert command("graph", "graphs/referral.yaml", "-o", str(target)).returncode == 0
        assert target.stat().st_size > 100
    done = command("graph", "graphs/referral.yaml", "-o", str(tmp_path / "x.gif"))
    assert done.returncode == 2 and "a picture ends in one of" in done.stderr
    target = tmp_path / "coverage.svg"
    done = command("test", "graphs/referral.cases.yaml", "--draw", str(target))
    assert done.returncode == 0 and "drew Referral" in done.stdout
    assert 'class="box job covered"' in target.read_text()
