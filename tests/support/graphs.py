"""Workflows for tests of graphs: hostile texts, a hundred steps, and generated ones."""

from __future__ import annotations

from hypothesis import strategies as st

from worker.view.graph.annotation_styles import ANNOTATION_STYLES
from worker.view.graph.drawing import Annotation, Annotations
from worker.workflow.model import Edge, EdgeKind, Step, StepKind, Workflow

HOSTILE_TEXTS = {
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


def annotated(workflow: Workflow, text: str = "✓ 1×") -> Annotations:
    styles = list(ANNOTATION_STYLES)
    annotations = {
        step.id: Annotation(style=styles[i % len(styles)], badge=text, note=text)
        for i, step in enumerate(workflow.steps)
    }
    edges = {
        edge.id: Annotation(style="partly", badge=text, note=text)
        for step in workflow.steps
        for edge in step.edges
    }
    return Annotations(steps=annotations, edges=edges)


def hundred_steps() -> Workflow:
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
