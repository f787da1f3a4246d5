"""Graph of a run embedded in a page; its boxes are buttons that select a step."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree as ET

from worker.errors import UsageError
from worker.view.graph.drawing import Drawing, NodeKind
from worker.view.graph.svg import svg_element


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedGraph:
    """SVG element, or the reason why there is none."""

    element: ET.Element | None
    problem: str = ""


# A page with a larger graph opens slowly, and people cannot find a step in it.
MAX_NODES = 3000


def embed_graph(drawing: Drawing) -> EmbeddedGraph:
    if len(drawing.nodes) > MAX_NODES:
        return EmbeddedGraph(
            element=None, problem=f"The graph is too large to draw: {drawing.summary}."
        )
    try:
        element = svg_element(drawing)
    except UsageError as error:
        return EmbeddedGraph(element=None, problem=str(error))
    _make_steps_buttons(element, drawing)
    return EmbeddedGraph(element=element)


def _make_steps_buttons(element: ET.Element, drawing: Drawing) -> None:
    # An element with the role img hides its parts from screen readers; these are buttons.
    element.set("role", "group")
    boxes = [group for group in element.iter("g") if _is_box(group)]
    for number, (node, group) in enumerate(zip(drawing.nodes, boxes, strict=True)):
        # A step that did not run has no execution to select.
        if node.annotation is None or node.kind is NodeKind.MISSING:
            continue
        group.attrib |= {"class": "node", "data-step": str(number), "role": "button"}
        group.set("tabindex", "0")


def _is_box(group: ET.Element) -> bool:
    return any(part.get("class", "").startswith("box ") for part in group.findall("*"))
