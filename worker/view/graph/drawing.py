"""What a picture of a workflow shows, whatever format it is written in.

A workflow that could not run is drawn too (cycles, edges to nowhere, ids that stand twice): the
picture helps to find the mistake.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from worker.view.graph.palette import TONES
from worker.view.graph.text import clean, clean_lines, shorten
from worker.workflow.model import Edge, EdgeKind, Language, Step, StepKind, Workflow

TITLE_LIMIT = 120
CONDITION_LIMIT = 40
BADGE_LIMIT = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """What a run, or the tests, say about a step or an edge.

    ``tone`` is a status, or another of TONES (ValueError for others); ``badge`` is a text of
    BADGE_LIMIT characters at most, ``note`` is shown on pointing at it.
    """

    tone: str
    badge: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if self.tone not in TONES:
            raise ValueError(f"no such tone: {self.tone!r} (there are: {', '.join(TONES)})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """Marks by the ids of steps, and by those of edges (``a->b``)."""

    steps: Mapping[str, Annotation] = field(default_factory=dict)
    edges: Mapping[str, Annotation] = field(default_factory=dict)


class NodeKind(StrEnum):
    """A code-less job passes its state on; an edge leads to a missing step, which is none."""

    TRIGGER = "trigger"
    JOB = "job"
    CODELESS = "code-less"
    MISSING = "missing"


class Style(StrEnum):
    """How an edge is drawn; a disabled one looks disabled whatever its condition is."""

    ALWAYS = "always"
    SUCCESS = "success"
    FAILURE = "failure"
    EXPRESSION = "expression"
    DISABLED = "disabled"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnNode:
    """A step. ``key`` is generated (``n0``), and alone is used where a format needs a name."""

    key: str
    id: str
    title: str
    subtitle: str
    kind: NodeKind
    tooltip: str
    mark: Annotation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrow:
    """An edge between the keys of two nodes. ``label`` is the author's; ``condition`` says when it
    is followed, in at most CONDITION_LIMIT characters (empty: always); ``tooltip`` has it whole."""

    source: str
    target: str
    style: Style
    label: str
    condition: str
    tooltip: str
    mark: Annotation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """Nodes and edges in the order of the file. Every text in it is clean; none is escaped."""

    title: str
    nodes: tuple[DrawnNode, ...]
    edges: tuple[Arrow, ...]

    @property
    def summary(self) -> str:
        return f"{_count(len(self.nodes), 'step')}, {_count(len(self.edges), 'edge')}"


_STYLES = {
    EdgeKind.ALWAYS: Style.ALWAYS,
    EdgeKind.NEVER: Style.NEVER,
    EdgeKind.SUCCESS: Style.SUCCESS,
    EdgeKind.FAILURE: Style.FAILURE,
    EdgeKind.EXPRESSION: Style.EXPRESSION,
}
_CONDITIONS = {
    EdgeKind.ALWAYS: "",
    EdgeKind.NEVER: "⊘ never",
    EdgeKind.SUCCESS: "✓ on success",
    EdgeKind.FAILURE: "✗ on failure",
}
NO_MARKS = Marks()


def draw(workflow: Workflow, marks: Marks = NO_MARKS) -> Drawing:
    """What a picture of the workflow shows, with what ``marks`` say laid over it."""
    keys: dict[str, str] = {}
    for number, step in enumerate(workflow.steps):
        keys.setdefault(step.id, f"n{number}")
    nodes = [
        _node(f"n{number}", step, _cleaned(marks.steps.get(step.id)))
        for number, step in enumerate(workflow.steps)
    ]
    for target in _missing(workflow):
        keys[target] = f"n{len(nodes)}"
        nodes.append(_gap(keys[target], target))
    return Drawing(
        title=shorten(clean(workflow.name), TITLE_LIMIT) or "workflow",
        nodes=tuple(nodes),
        edges=tuple(
            _arrow(f"n{number}", keys[edge.target], edge, _cleaned(marks.edges.get(edge.id)))
            for number, step in enumerate(workflow.steps)
            for edge in step.edges
        ),
    )


def _cleaned(mark: Annotation | None) -> Annotation | None:
    if mark is None:
        return None
    return replace(mark, badge=shorten(clean(mark.badge), BADGE_LIMIT), note=clean_lines(mark.note))


def _missing(workflow: Workflow) -> list[str]:
    """The targets that are no steps, each once."""
    known = {step.id for step in workflow.steps}
    targets = (edge.target for step in workflow.steps for edge in step.edges)
    return [target for target in dict.fromkeys(targets) if target not in known]


def _node(key: str, step: Step, mark: Annotation | None) -> DrawnNode:
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
        tooltip=_tooltip(*tooltip, mark.note if mark else ""),
        mark=mark,
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


def _gap(key: str, target: str) -> DrawnNode:
    return DrawnNode(
        key=key,
        id=clean(target),
        title=shorten(clean(target), TITLE_LIMIT) or "unnamed",
        subtitle="⚠ no such step",
        kind=NodeKind.MISSING,
        tooltip=_tooltip(f"an edge leads to '{clean(target)}', which is no step"),
    )


def _arrow(source: str, target: str, edge: Edge, mark: Annotation | None) -> Arrow:
    whole = clean_lines(edge.expression) if edge.kind is EdgeKind.EXPRESSION else ""
    condition = _CONDITIONS.get(edge.kind) or shorten(clean(edge.expression), CONDITION_LIMIT)
    tooltip = [
        clean(edge.id), clean_lines(edge.label), whole or condition or "always",
        "disabled: never followed" if edge.disabled else "", mark.note if mark else "",
    ]  # fmt: skip
    return Arrow(
        source=source,
        target=target,
        style=Style.DISABLED if edge.disabled else _STYLES[edge.kind],
        label=shorten(clean(edge.label), TITLE_LIMIT),
        condition=condition,
        tooltip=_tooltip(*tooltip),
        mark=mark,
    )


def _tooltip(*parts: str) -> str:
    return "\n".join(dict.fromkeys(filter(None, map(clean_lines, parts))))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
