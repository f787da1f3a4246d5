"""What is to be drawn, whatever it is drawn as: boxes, arrows, and marks upon them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from worker.plan.workflow import Edge, EdgeKind, Step, StepKind, Workflow
from worker.sinks.text import one_line

TITLE = 32
LABEL = 36


class Tone(StrEnum):
    """How well something is covered; each has a mark of its own beside its colour."""

    NONE = ""
    COVERED = "covered"
    PARTLY = "partly"
    MISSED = "missed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What is laid over a step or an edge: a tone, a few characters, and words to read."""

    tone: Tone = Tone.NONE
    badge: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """Marks by step id and by edge id."""

    steps: Mapping[str, Mark] = field(default_factory=dict)
    edges: Mapping[str, Mark] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A step. ``kind``: job, trigger, or empty for a job without code."""

    id: str
    title: str
    subtitle: str
    kind: str
    mark: Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrow:
    """An edge, from and to the boxes at these places. ``full`` is the whole condition."""

    source: int
    target: int
    style: str
    label: str
    full: str
    mark: Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """Boxes in the order of the file, and the arrows between them."""

    title: str
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


_NOTHING = Marks()


def draw(workflow: Workflow, marks: Marks = _NOTHING) -> Drawing:
    """The drawing of a workflow, even of one that could not run: a picture helps to see why."""
    boxes = [_box(step, marks) for step in workflow.steps]
    known = {step.id: place for place, step in enumerate(workflow.steps)}
    edges = [edge for step in workflow.steps for edge in step.edges]
    for missing in dict.fromkeys(edge.target for edge in edges if edge.target not in known):
        known[missing] = len(boxes)
        boxes.append(_missing(missing))
    arrows = (
        _arrow(edge, known[edge.source], known[edge.target], marks)
        for edge in edges
        if edge.source in known
    )
    return Drawing(title=one_line(workflow.name, 80), boxes=tuple(boxes), arrows=tuple(arrows))


def _missing(id: str) -> Box:
    title = one_line(id, TITLE)
    return Box(id=id, title=title, subtitle="no such step", kind="missing", mark=Mark())


def _box(step: Step, marks: Marks) -> Box:
    if step.kind is StepKind.TRIGGER:
        kind, subtitle = "trigger", " ".join(filter(None, (step.trigger_type, step.cron)))
    else:
        kind = "job" if step.source else "empty"
        subtitle = ", ".join(one.removeprefix("@openfn/language-") for one in step.adaptors)
    return Box(
        id=step.id,
        title=one_line(step.name or step.id, TITLE),
        subtitle=one_line(subtitle, TITLE),
        kind=kind,
        mark=marks.steps.get(step.id, Mark()),
    )


_WORDS = {
    EdgeKind.ALWAYS: "",
    EdgeKind.NEVER: "never",
    EdgeKind.SUCCESS: "on success",
    EdgeKind.FAILURE: "on failure",
}
_STYLES = {
    EdgeKind.ALWAYS: "always",
    EdgeKind.NEVER: "never",
    EdgeKind.SUCCESS: "success",
    EdgeKind.FAILURE: "failure",
    EdgeKind.EXPRESSION: "expression",
}


def _arrow(edge: Edge, source: int, target: int, marks: Marks) -> Arrow:
    full = edge.expression or _WORDS.get(edge.kind, "")
    words = edge.label or full
    if edge.disabled:
        words = f"off: {words}" if words else "off"
    return Arrow(
        source=source,
        target=target,
        style="disabled" if edge.disabled else _STYLES[edge.kind],
        label=one_line(words, LABEL),
        full=one_line(full, 500),
        mark=marks.edges.get(edge.id, Mark()),
    )
