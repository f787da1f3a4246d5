"""Drawn graphs: what they show, that nothing lies over anything, and that no text breaks out."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
import subprocess
import sys
import time
from html.parser import HTMLParser
from itertools import combinations, pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import worker
from worker.cli.graph import graph as graph_command
from worker.core.status import STATUSES
from worker.errors import LoadError, UsageError
from worker.view.graph.arrange import arrange
from worker.view.graph.dagre import Sizes, place
from worker.view.graph.drawing import Annotation, Drawing, Marks, NodeKind, Style, draw
from worker.view.graph.fitting import fit_label
from worker.view.graph.formats import FORMATS, format_of, write
from worker.view.graph.layout import Layout, Rectangle
from worker.view.graph.mermaid import escaped
from worker.view.graph.palette import TONES
from worker.view.graph.styles import style_sheet
from worker.view.graph.svg import NAMESPACE, svg
from worker.view.graph.text import clean, width, wrap
from worker.workflow.load import load, workflow_names
from worker.workflow.model import Edge, EdgeKind, Step, StepKind, Workflow

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
TAGS = {"svg", "title", "desc", "style", "rect", "g", "path", "text"}
ATTRIBUTES = {
    "aria-label", "class", "d", "height", "role", "rx", "stroke", "transform", "viewBox", "width", "x", "y",
}  # fmt: skip
HOSTILE = {
    "markup": "</svg><script>alert(1)</script>",
    "cdata": "]]><!-- --><![CDATA[ <?xml ?> &amp;lt; &#60;",
    "image": '<img src=x onerror="alert(1)"> <a href="javascript:alert(1)">x</a>',
    "style": "</style><style>* { background: url(http://x.example/) }",
    "quotes": "\" ' ` \\ \\\" \\N \\n",
    "lines": "one\ntwo\r\nthree\x85four\u2028five\ttab",
    "mermaid": '%%{init: {"theme": "dark"}}%% ]"] --> n9["x"]; end\nclick n0 call f()',
    "list": "1. a list",
    "entities": "#quot; #35; &lt; ﬂ°°60¶ß",
    "controls": "\x00\x01\x07\x08\x0b\x0c\x1b[31m\x1f\x7f\x9f\ufffe\uffff",
    "overrides": "a\u202eb\u2066c\u200fd\u200be\ufeff",
    "lone": "\ud800 x \udfff",
    "long": "name" * 2500,
    "words": "many words " * 1000,
    "wide": "全角文字" * 40,
    "combining": "a" + "\u0301" * 3000,
    "emoji": "👩🏽\u200d⚕️ nurse",
    "empty": "",
    "blank": " \n\t ",
}  # fmt: skip


def chain(texts: dict[str, str]) -> Workflow:
    """Steps one after the other, each text in every place that an author can write in."""
    ids = [f"{number} {text}" for number, text in enumerate(texts.values())]
    steps = [
        Step(
            id=id, name=text, source="x", adaptors=(text,), trigger_type=text,
            kind=StepKind.JOB if number else StepKind.TRIGGER,
            edges=(
                Edge(source=id, target=ids[(number + 1) % len(ids)], kind=EdgeKind.EXPRESSION, expression=text, label=text),
                Edge(source=id, target=f"missing {text}"),
            ),
        )
        for number, (id, text) in enumerate(zip(ids, texts.values(), strict=True))
    ]  # fmt: skip
    return Workflow(name=" ".join(texts.values()), steps=tuple(steps))


def marked(workflow: Workflow, text: str = "✓ 1×") -> Marks:
    tones = list(TONES)
    marks = {
        step.id: Annotation(tone=tones[i % len(tones)], badge=text, note=text)
        for i, step in enumerate(workflow.steps)
    }
    edges = {
        edge.id: Annotation(tone="partly", badge=text, note=text)
        for step in workflow.steps
        for edge in step.edges
    }
    return Marks(steps=marks, edges=edges)


def hundred() -> Workflow:
    """A hundred steps with names, conditions and labels of usual lengths."""
    kinds = list(EdgeKind)
    edges: dict[int, list[Edge]] = {number: [] for number in range(100)}
    for number in range(1, 100):
        for source in {number - 1 - number % 3, number - 1 - number * 7 % 5} - {number}:
            if source >= 0 and (
                number % 4 == 0
                or not any(e.target == f"s{number}" for s in edges.values() for e in s)
            ):
                kind = kinds[(number + source) % len(kinds)]
                expression = (
                    f"state.data.patients.length > {number}" if kind is EdgeKind.EXPRESSION else ""
                )
                label = "to the clinic's register" if number % 5 == 0 else ""
                edges[source].append(
                    Edge(
                        source=f"s{source}",
                        target=f"s{number}",
                        kind=kind,
                        expression=expression,
                        label=label,
                    )
                )
    return Workflow(name="A hundred", steps=tuple(
        Step(id=f"s{number}", name=f"Validate the address {number}", source="x", adaptors=("@openfn/language-fhir-4@1.0.0",), edges=tuple(edges[number]))
        for number in range(100)
    ))  # fmt: skip


@st.composite
def workflows(draw_: st.DrawFn, *, most: int = 60, cycles: bool = False) -> Workflow:
    count = draw_(st.integers(1, most))
    places = st.integers(0, count - 1)
    pairs = draw_(st.lists(st.tuples(places, places), max_size=count * 2, unique=True))
    if not cycles:
        pairs = list({(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]})
    texts = st.sampled_from(
        [
            "",
            "",
            "Fetch",
            "Register the patient",
            "a" * 90,
            "state.data.items?.length > 0 && state.ok",
            "全角文字" * 9,
        ]
    )
    edges: dict[int, list[Edge]] = {number: [] for number in range(count)}
    for source, target in pairs:
        edges[source].append(Edge(
            source=str(source), target=str(target), kind=draw_(st.sampled_from(EdgeKind)),
            expression=draw_(texts), label=draw_(texts), disabled=draw_(st.booleans()),
        ))  # fmt: skip
    kinds = st.sampled_from(StepKind)
    return Workflow(name="test", steps=tuple(
        Step(id=str(number), name=draw_(texts), kind=draw_(kinds), source="x", edges=tuple(edges[number]))
        for number in range(count)
    ))  # fmt: skip


def overlap(one: Rectangle, other: Rectangle) -> bool:
    across = min(one.right, other.right) - max(one.left, other.left)
    down = min(one.bottom, other.bottom) - max(one.top, other.top)
    return across > 0.1 and down > 0.1


def on_the_way(route: tuple[tuple[float, float], ...]) -> list[tuple[float, float]]:
    """Points along a route, its curves as they are drawn."""
    points = []
    for (x, y), (to_x, to_y) in pairwise(route):
        for part in (step / 12 for step in range(1, 12)):
            turned = 3 * part**2 - 2 * part**3 if y != to_y else part
            middle = (y + to_y) / 2
            along = (1 - part) ** 3 * y + 3 * (1 - part) * part * middle + part**3 * to_y
            points.append(
                (
                    x + turned * (to_x - x),
                    along if x != to_x and y != to_y else y + part * (to_y - y),
                )
            )
    return points


def inside(point: tuple[float, float], box: Rectangle) -> bool:
    x, y = point
    return box.left + 0.5 < x < box.right - 0.5 and box.top + 0.5 < y < box.bottom - 0.5


def check_layout(drawing: Drawing) -> Layout:
    """Nothing lies over anything, all of it within the bounds."""
    layout = arrange(drawing)
    labels = [label for label in layout.labels if label]
    for one, other in combinations([*layout.boxes, *labels], 2):
        assert not overlap(one, other), (one, other)
    for box in (*layout.boxes, *labels):
        assert box.left >= -0.1 and box.right <= layout.width + 0.1
        assert box.top >= -0.1 and box.bottom <= layout.height + 0.1
    index = {node.key: box for node, box in zip(drawing.nodes, layout.boxes, strict=True)}
    for edge, own, route in zip(drawing.edges, layout.labels, layout.routes, strict=True):
        others = [box for box in (*layout.boxes, *labels) if box is not own]
        for point in on_the_way(route):
            assert not any(inside(point, box) for box in others), (edge, point)
        if edge.source != edge.target:
            assert abs(route[0][0] - index[edge.source].x) <= index[edge.source].width / 2
            assert abs(route[-1][0] - index[edge.target].x) <= index[edge.target].width / 2
    return layout


def check_svg(text: str) -> ET.Element:
    """It is XML, of nothing but the elements and attributes that draw, and asks for nothing."""
    root = ET.fromstring(text)
    for element in root.iter():
        assert element.tag.removeprefix(f"{{{NAMESPACE}}}") in TAGS
        assert set(element.attrib) <= ATTRIBUTES
        if element.tag.endswith("style"):
            assert element.text is not None
            assert not re.search(r"url|@import|http|expression\(|<|&", element.text)
    return root


class Page(HTMLParser):
    """What a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.policy, self.styles, self._inside = "", "", ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self._inside = tag
        found = dict(attrs)
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"] or ""

    def handle_data(self, data: str) -> None:
        if self._inside == "style":
            self.styles += data

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""


def check_html(text: str) -> None:
    page = Page(text)
    assert page.tags <= TAGS | {
        "html", "head", "meta", "body", "main", "div", "details", "summary", "table", "thead", "tbody", "tr", "th", "td",
    }  # fmt: skip
    assert page.attributes <= {name.lower() for name in ATTRIBUTES} | {
        "lang", "charset", "http-equiv", "content", "name", "tabindex", "xmlns",
    }  # fmt: skip
    digest = base64.b64encode(hashlib.sha256(page.styles.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in page.policy
    assert page.policy.startswith("default-src 'none'; ")


_MERMAID = re.compile(
    r'  n\d+(?:\{\{"[^"]*"\}\}|\("[^"]*"\)|\["[^"]*"\])(?::::\w+)?'
    r'|  n\d+ (?:-->|-\.->|-\.-x)(?:\|"[^"]*"\|)? n\d+'
    r"|  linkStyle \d+ stroke:#\w+(?:,stroke-width:3px)?|  classDef \w+ [\w:,# -]+"
)


def check_mermaid(text: str) -> None:
    """Every line is a statement that we write, and no label has a sign with a meaning."""
    head, chart = text.split("\nflowchart TD\n")
    title = head.removeprefix("---\ntitle: ").removesuffix("\n---")
    assert isinstance(json.loads(title), str) and not re.search(r"[%<>{}]", title)
    for line in chart.splitlines():
        assert _MERMAID.fullmatch(line), line
        for label in re.findall(r'"([^"]*)"', line):
            bare = re.sub(r"#\d+;|<br>", "", label)
            assert not re.search(r"[%<>{}|;#&`\\*\[\]$~^!]", bare), label


def check_dot(text: str) -> None:
    for line in text.splitlines()[1:-1]:
        plain = re.sub(r'"(?:[^"\\]|\\.)*"', '""', line)
        assert re.fullmatch(
            r'  (?:n\d+|n\d+ -> n\d+|graph|node|edge) \[(?:\w+=[\w""]+(?:, )?)*\]', plain
        ), line


CHECKS = {
    "svg": lambda found: check_svg(found.decode()),
    "html": lambda found: check_html(found.decode()),
    "png": lambda found: check_png(found),
    "mmd": lambda found: check_mermaid(found.decode()),
    "dot": lambda found: check_dot(found.decode()),
}


def check_png(found: bytes) -> None:
    assert found.startswith(b"\x89PNG\r\n\x1a\n") and len(found) > 1000


# --- every sample, every format --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "name"), SAMPLES, ids=[f"{file.stem}-{name}" for file, name in SAMPLES]
)
def test_every_sample_is_drawn_with_nothing_over_anything(file: Path, name: str | None) -> None:
    workflow = load(file, workflow=name)
    for marks in (Marks(), marked(workflow)):
        drawing = draw(workflow, marks)
        check_layout(drawing)
        for format in set(FORMATS) - {"png"}:
            CHECKS[format](write(drawing, format))


@pytest.mark.parametrize("name", ["referral.yaml", "join.json"])
def test_png(name: str) -> None:
    pytest.importorskip("resvg_py")
    check_png(write(draw(load(ROOT / "graphs" / name)), "png"))


def test_png_without_its_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(UsageError, match=r"workflow-worker\[png\]"):
        write(draw(load(ROOT / "graphs/join.json")), "png")


# --- what is drawn ---------------------------------------------------------------------------------


def test_a_drawing_says_what_a_workflow_is() -> None:
    long = "state.data.patients.filter(p => p.ok).length > 10"
    workflow = Workflow(name="w", steps=(
        Step(id="t", kind=StepKind.TRIGGER, trigger_type="cron", edges=(Edge(source="t", target="a"),)),
        Step(id="a", name="First", source="x", adaptors=("@openfn/language-http@7.0.0",), edges=(
            Edge(source="a", target="b", kind=EdgeKind.EXPRESSION, expression=long, label="enough"),
            Edge(source="a", target="c", kind=EdgeKind.FAILURE),
            Edge(source="a", target="b2", kind=EdgeKind.SUCCESS, disabled=True),
            Edge(source="a", target="a", kind=EdgeKind.NEVER),
        )),
        Step(id="b"), Step(id="b"), Step(id="c", source="y"),
    ))  # fmt: skip
    drawing = draw(
        workflow,
        Marks(
            steps={"a": Annotation(tone="failed", badge="2×", note="JobError")},
            edges={"a->c": Annotation(tone="missed")},
        ),
    )
    assert [node.key for node in drawing.nodes] == ["n0", "n1", "n2", "n3", "n4", "n5"]
    assert [str(node.kind) for node in drawing.nodes] == [
        "trigger",
        "job",
        "code-less",
        "code-less",
        "job",
        "missing",
    ]
    first = drawing.nodes[1]
    assert (first.title, first.subtitle, first.mark and first.mark.badge) == (
        "First",
        "http@7.0.0",
        "2×",
    )
    assert first.tooltip.endswith("\nJobError")
    assert [(edge.source, edge.target, str(edge.style)) for edge in drawing.edges] == [
        ("n0", "n1", "always"), ("n1", "n2", "expression"), ("n1", "n4", "failure"), ("n1", "n5", "disabled"), ("n1", "n1", "never"),
    ]  # fmt: skip
    chosen = drawing.edges[1]
    assert (
        chosen.label == "enough" and chosen.condition.endswith("…") and len(chosen.condition) == 40
    )
    assert long in chosen.tooltip
    assert drawing.edges[2].condition == "✗ on failure"
    assert drawing.edges[2].mark == Annotation(tone="missed")
    assert "disabled" in drawing.edges[3].tooltip
    check_layout(drawing)


def test_a_mark_has_a_tone_that_there_is() -> None:
    others = {"covered", "partly", "missed", "followed", "refused"}
    assert set(map(str, STATUSES)) | others == set(TONES)
    with pytest.raises(ValueError, match="no such tone: 'green'"):
        Annotation(tone="green")


def test_no_two_statuses_look_the_same_without_colour() -> None:
    statuses = [TONES[str(status)] for status in STATUSES]
    assert len({(tone.shape, tone.glyph) for tone in statuses}) == len(statuses)
    assert all(
        tone.sign == STATUSES[status].mark for tone, status in zip(statuses, STATUSES, strict=True)
    )
    assert len({tone.sign for tone in statuses}) == len(statuses)


def test_kinds_of_edges_are_told_apart_without_colour() -> None:
    workflow = load(ROOT / "graphs/triage.yaml")
    text = svg(draw(workflow))
    assert "✗ on failure" in text and "✓ on success" in text
    assert ".workflow-graph .line.failure { stroke-dasharray: 7 4; }" in text
    assert 'class="tail expression"' in text
    disabled = draw(load(ROOT / "graphs/router.yaml"))
    lines = [
        line.text
        for edge in disabled.edges
        if edge.style is Style.DISABLED
        for line in fit_label(edge).lines
    ]
    assert lines == ["⊘ disabled"]


def test_a_dark_screen_has_colours_of_its_own() -> None:
    assert "@media screen and (prefers-color-scheme: dark)" in svg(draw(hundred()))
    assert "@media" not in style_sheet(night=False)


def test_rules_reach_nothing_outside_the_picture() -> None:
    rules = [line for line in style_sheet().splitlines() if not line.startswith(("@", "}"))]
    assert rules and all(
        selector.startswith(".workflow-graph ")
        for rule in rules
        for selector in rule.partition(" {")[0].split(", ")
    )


def test_a_picture_is_told_in_words_too() -> None:
    root = check_svg(svg(draw(load(ROOT / "graphs/triage.yaml"))))
    assert root.get("role") == "img" and "Triage: 7 steps, 6 edges" in (
        root.get("aria-label") or ""
    )
    assert "Score to Triage by hand: ✗ on failure." in (root.findtext(f"{{{NAMESPACE}}}desc") or "")


# --- workflows that could not run ------------------------------------------------------------------


@pytest.mark.parametrize("steps", [
    [],
    [{"id": "a", "next": {"a": True}}],
    [{"id": "a", "next": {"b": "state.x"}}, {"id": "b", "next": {"a": "on_job_failure"}}],
    [{"id": "a", "next": {"nowhere": True, "b": True}}, {"id": "b", "next": {"nowhere": True}}],
    [{"id": "a"}, {"id": "a", "next": {"a": True}}],
])  # fmt: skip
def test_what_could_not_run_is_drawn_all_the_same(steps: list[dict[str, object]]) -> None:
    workflow = load({"workflow": {"name": "broken", "steps": steps}})
    drawing = draw(workflow, marked(workflow))
    check_layout(drawing)
    for format in FORMATS:
        CHECKS[format](write(drawing, format))


def test_a_missing_target_stands_in_the_picture_once() -> None:
    steps = [{"id": "a", "next": {"x": True}}, {"id": "b", "next": {"x": True}}]
    drawing = draw(load({"workflow": {"name": "w", "steps": steps}}))
    assert [node.title for node in drawing.nodes if node.kind is NodeKind.MISSING] == ["x"]


# --- texts that want to break out ------------------------------------------------------------------


@pytest.mark.parametrize(
    "format",
    [pytest.param(one, marks=pytest.mark.slow if one == "png" else ()) for one in FORMATS],
)
def test_no_text_breaks_out(format: str) -> None:
    workflow = chain(HOSTILE)
    for marks in (Marks(), marked(workflow, HOSTILE["markup"] + HOSTILE["quotes"])):
        CHECKS[format](write(draw(workflow, marks), format))
    for text in HOSTILE.values():
        alone = chain({"alone": text})
        CHECKS[format](write(draw(alone, marked(alone, text)), format))


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_no_text_at_all_breaks_out(text: str) -> None:
    workflow = chain({"one": text, "other": f"{text}\n{text}"})
    drawing = draw(workflow, marked(workflow, text))
    for format in ("svg", "html", "mmd", "dot"):
        CHECKS[format](write(drawing, format))


def test_the_engine_is_given_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Sizes] = []

    def spy(graphs: list[Sizes]) -> object:
        seen.extend(graphs)
        return place(graphs)

    monkeypatch.setattr("worker.view.graph.arrange.place", spy)
    arrange(draw(chain(HOSTILE)))
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
    assert all(width(line, 13) <= 100 for line in cut)
    assert escaped("1. a") == "1#46; a" and escaped('%%"') == "#37;#37;#34;"


# --- layouts ---------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(workflows())
def test_nothing_lies_over_anything(workflow: Workflow) -> None:
    drawing = draw(workflow)
    layout = check_layout(drawing)
    for edge, route in zip(drawing.edges, layout.routes, strict=True):
        assert route[0][1] < route[-1][1], f"{edge} does not lead down"


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(workflows(most=20, cycles=True))
def test_nothing_lies_over_anything_with_cycles_and_marks(workflow: Workflow) -> None:
    drawing = draw(workflow, marked(workflow))
    check_layout(drawing)
    check_svg(svg(drawing))


@pytest.mark.parametrize("seed", range(4))
def test_nothing_lies_over_anything_where_edges_are_many(seed: int) -> None:
    chosen = random.Random(seed)
    edges: dict[int, list[Edge]] = {number: [] for number in range(60)}
    for source, target in sorted({tuple(sorted(chosen.sample(range(60), 2))) for _ in range(140)}):
        kind = chosen.choice(list(EdgeKind))
        edges[source].append(
            Edge(source=str(source), target=str(target), kind=kind, expression="state.x")
        )
    steps = (
        Step(id=str(number), name="step " * (number % 9), edges=tuple(edges[number]))
        for number in edges
    )
    check_layout(draw(Workflow(name="dense", steps=tuple(steps))))


def test_a_hundred_steps(capsys: pytest.CaptureFixture[str]) -> None:
    drawing = draw(hundred())
    begun = time.perf_counter()
    text = svg(drawing)
    with capsys.disabled():
        print(
            f"\n{drawing.summary}: drawn in {time.perf_counter() - begun:.2f} s, {len(text):,} bytes"
        )
    check_svg(text)
    check_layout(drawing)


def test_a_picture_is_the_same_every_time() -> None:
    assert svg(draw(hundred())) == svg(draw(hundred()))


def test_steps_stand_in_the_order_of_the_file() -> None:
    layout = arrange(draw(load(ROOT / "graphs/router.yaml")))
    xs = [box.x for box in layout.boxes[2:]]
    assert xs == sorted(xs)


def test_a_long_chain_is_no_matter_of_the_stack() -> None:
    steps = [{"id": f"s{i}", "next": {f"s{i + 1}": True}} for i in range(1500)]
    check_svg(svg(draw(load({"workflow": {"name": "long", "steps": [*steps, {"id": "s1500"}]}}))))


def test_too_large_a_graph_is_refused_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.view.graph.dagre._TIME_LIMIT_S", 0.001)
    with pytest.raises(UsageError, match=r"100 steps are too many to lay out .*: write mmd or dot"):
        write(draw(hundred()), "svg")


# --- the command -----------------------------------------------------------------------------------


def graph(file: Path, workflow: str | None, output: Path | None, format: str | None) -> int:
    return graph_command.callback(file=file, workflow=workflow, output=output, format=format)


@pytest.mark.parametrize("format", FORMATS)
def test_the_end_of_the_name_says_the_format(format: str, tmp_path: Path) -> None:
    output = tmp_path / f"x.{format}"
    assert graph(ROOT / "graphs/referral.yaml", None, output, None) == 0
    CHECKS[format](output.read_bytes())


def test_without_an_output_it_is_mermaid_on_stdout() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "worker", "graph", "graphs/join.json"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        env={"PYTHONIOENCODING": "ascii"},
    )
    check_mermaid(done.stdout.decode())
    assert done.stderr == b""


def test_wrong_arguments_are_said(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"several workflows.*--workflow.*'register-child'"):
        graph(ROOT / "graphs/vaccination.yaml", None, tmp_path / "x.svg", None)
    assert graph(ROOT / "graphs/vaccination.yaml", "register-child", tmp_path / "x.svg", None) == 0
    with pytest.raises(
        UsageError, match=r"x\.gif does not end in a format's name \(there are: svg, png"
    ):
        graph(ROOT / "graphs/join.json", None, tmp_path / "x.gif", None)
    with pytest.raises(UsageError, match="'gif' is no format"):
        graph(ROOT / "graphs/join.json", None, tmp_path / "x", "gif")
    with pytest.raises(UsageError, match="cannot be written: No such file"):
        graph(ROOT / "graphs/join.json", None, tmp_path / "no/x.svg", None)
    assert format_of(Path("a.HTM")) == "html" and format_of(Path("a.gv")) == "dot"


def test_what_could_not_run_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cycle.json"
    file.write_text(
        '{"workflow": {"name": "w", "steps": [{"id": "a", "next": {"b": true}}, {"id": "b", "next": {"a": true}}]}}'
    )
    assert graph(file, None, tmp_path / "x.svg", None) == 0
    assert "the steps form a cycle: a -> b -> a" in capsys.readouterr().err
    check_svg((tmp_path / "x.svg").read_text("utf-8"))


# --- the bundle ------------------------------------------------------------------------------------


def test_the_bundle_has_its_licences_and_short_lines() -> None:
    licences = (VENDOR / "LICENSES.txt").read_text()
    wanted = json.loads((ROOT / "tools/pictures/package.json").read_text())["dependencies"]
    for name, version in wanted.items():
        assert re.search(rf"^{re.escape(name)} {re.escape(version)} \(", licences, re.MULTILINE)
    assert max(map(len, (VENDOR / "dagre.js").read_text().splitlines())) < 4000
