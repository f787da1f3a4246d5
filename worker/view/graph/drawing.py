"""Content of a rendered workflow graph, independent of the output format.

Invalid workflows are drawn too (cycles, unknown targets, duplicate ids): the graph helps to find
the mistake.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from worker.util.plural import count_of
from worker.view.graph.annotation_styles import ANNOTATION_STYLES
from worker.view.graph.text import clean, clean_lines, shorten
from worker.workflow.model import Edge, EdgeKind, Language, Step, StepKind, Workflow

TITLE_LIMIT = 120
CONDITION_LIMIT = 40
BADGE_LIMIT = 24
MAX_WEIGHT = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """Result of a run or of tests, shown on a step or an edge.

    ``style`` is a key of ANNOTATION_STYLES (ValueError for others), ``badge`` a text of at most
    BADGE_LIMIT characters, and ``note`` the tooltip. An edge of ``weight`` 1 to MAX_WEIGHT is
    drawn thicker; 0 is the thickness of the style.
    """

    style: str
    badge: str = ""
    note: str = ""
    weight: int = 0

    def __post_init__(self) -> None:
        if self.style not in ANNOTATION_STYLES:
            known = ", ".join(ANNOTATION_STYLES)
            raise ValueError(f"unknown annotation style {self.style!r} (expected one of {known})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """Annotations by step id, and by edge id (``a->b``)."""

    steps: Mapping[str, Annotation] = field(default_factory=dict)
    edges: Mapping[str, Annotation] = field(default_factory=dict)


class NodeKind(StrEnum):
    """Kind of a node; ``MISSING`` stands for the unknown target of an edge."""

    TRIGGER = "trigger"
    JOB = "job"
    CODELESS = "code-less"
    MISSING = "missing"


class EdgeStyle(StrEnum):
    """Line style of an edge; ``DISABLED`` takes precedence over the condition."""

    ALWAYS = "always"
    SUCCESS = "success"
    FAILURE = "failure"
    EXPRESSION = "expression"
    DISABLED = "disabled"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnNode:
    """Step of the graph. ``key`` is generated (``n0``) and safe as a name in every format."""

    key: str
    id: str
    title: str
    subtitle: str
    kind: NodeKind
    tooltip: str
    annotation: Annotation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnEdge:
    """Edge between the keys of two nodes.

    ``condition`` has at most CONDITION_LIMIT characters and is empty for always; ``tooltip`` has
    the whole condition.
    """

    source: str
    target: str
    style: EdgeStyle
    label: str
    condition: str
    tooltip: str
    annotation: Annotation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """Nodes and edges in the order of the file. All texts are cleaned, none is escaped."""

    title: str
    nodes: tuple[DrawnNode, ...]
    edges: tuple[DrawnEdge, ...]

    @property
    def summary(self) -> str:
        return f"{count_of(len(self.nodes), 'step')}, {count_of(len(self.edges), 'edge')}"


_STYLES = {
    EdgeKind.ALWAYS: EdgeStyle.ALWAYS,
    EdgeKind.NEVER: EdgeStyle.NEVER,
    EdgeKind.SUCCESS: EdgeStyle.SUCCESS,
    EdgeKind.FAILURE: EdgeStyle.FAILURE,
    EdgeKind.EXPRESSION: EdgeStyle.EXPRESSION,
}
_CONDITIONS = {
    EdgeKind.ALWAYS: "",
    EdgeKind.NEVER: "⊘ never",
    EdgeKind.SUCCESS: "✓ on success",
    EdgeKind.FAILURE: "✗ on failure",
}
NO_ANNOTATIONS = Annotations()


def draw(workflow: Workflow, annotations: Annotations = NO_ANNOTATIONS) -> Drawing:
    """Draw a workflow with its annotations."""
    # Names are generated: an id of the author could be syntax of an output format.
    keys: dict[str, str] = {}
    for number, step in enumerate(workflow.steps):
        keys.setdefault(step.id, f"n{number}")
    nodes = [
        _node(f"n{number}", step, _cleaned(annotations.steps.get(step.id)))
        for number, step in enumerate(workflow.steps)
    ]
    for target in _missing(workflow):
        keys[target] = f"n{len(nodes)}"
        nodes.append(_missing_node(keys[target], target))
    return Drawing(
        title=shorten(clean(workflow.name), TITLE_LIMIT) or "workflow",
        nodes=tuple(nodes),
        edges=tuple(
            _edge(f"n{number}", keys[edge.target], edge, _cleaned(annotations.edges.get(edge.id)))
            for number, step in enumerate(workflow.steps)
            for edge in step.edges
        ),
    )


def _cleaned(annotation: Annotation | None) -> Annotation | None:
    if annotation is None:
        return None
    return replace(
        annotation,
        badge=shorten(clean(annotation.badge), BADGE_LIMIT),
        note=clean_lines(annotation.note),
    )


def _missing(workflow: Workflow) -> list[str]:
    known = {step.id for step in workflow.steps}
    targets = (edge.target for step in workflow.steps for edge in step.edges)
    return [target for target in dict.fromkeys(targets) if target not in known]


def _node(key: str, step: Step, annotation: Annotation | None) -> DrawnNode:
    kind = NodeKind.TRIGGER if step.kind is StepKind.TRIGGER else NodeKind.JOB
    if kind is NodeKind.JOB and not step.runs_code:
        kind = NodeKind.CODELESS
    subtitle = ", ".join(_subtitles(step, kind))
    tooltip = [clean(step.name), f"step {clean(step.id)}", str(kind), ", ".join(step.adaptors)]
    return DrawnNode(
        key=key,
        id=clean(step.id),
        title=shorten(clean(step.name) or clean(step.id), TITLE_LIMIT) or "unnamed",
        subtitle=shorten(clean(subtitle), TITLE_LIMIT),
        kind=kind,
        tooltip=_tooltip(*tooltip, annotation.note if annotation else ""),
        annotation=annotation,
    )


def _subtitles(step: Step, kind: NodeKind) -> Iterator[str]:
    if kind is NodeKind.TRIGGER:
        yield f"trigger: {step.trigger_type}" if step.trigger_type else "trigger"
    elif kind is NodeKind.CODELESS:
        yield "no code"
    elif step.language is Language.PYTHON:
        yield "Python"
    if kind is not NodeKind.TRIGGER:
        yield from (adaptor.removeprefix("@openfn/language-") for adaptor in step.adaptors)


def _missing_node(key: str, target: str) -> DrawnNode:
    return DrawnNode(
        key=key,
        id=clean(target),
        title=shorten(clean(target), TITLE_LIMIT) or "unnamed",
        subtitle="⚠ unknown step",
        kind=NodeKind.MISSING,
        tooltip=_tooltip(f"unknown step '{clean(target)}', the target of an edge"),
    )


def _edge(source: str, target: str, edge: Edge, annotation: Annotation | None) -> DrawnEdge:
    whole = clean_lines(edge.expression) if edge.kind is EdgeKind.EXPRESSION else ""
    condition = _CONDITIONS.get(edge.kind) or shorten(clean(edge.expression), CONDITION_LIMIT)
    tooltip = [
        clean(edge.id), clean_lines(edge.label), whole or condition or "always",
        "disabled: never followed" if edge.disabled else "", annotation.note if annotation else "",
    ]  # fmt: skip
    return DrawnEdge(
        source=source,
        target=target,
        style=EdgeStyle.DISABLED if edge.disabled else _STYLES[edge.kind],
        label=shorten(clean(edge.label), TITLE_LIMIT),
        condition=condition,
        tooltip=_tooltip(*tooltip),
        annotation=annotation,
    )


def _tooltip(*parts: str) -> str:
    return "\n".join(dict.fromkeys(filter(None, map(clean_lines, parts))))
