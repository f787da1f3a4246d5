"""The graph of a run in a page: its boxes are buttons that choose a step."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree as ET

from worker.errors import UsageError
from worker.view.graph.drawing import Drawing, NodeKind
from worker.view.graph.svg import picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A picture, or the reason why there is none."""

    picture: ET.Element | None
    problem: str = ""


DRAWN = 3000
"""With more steps than this, the page would open slowly, and nobody would find one in the graph."""


def frame_of(drawing: Drawing) -> Frame:
    if len(drawing.nodes) > DRAWN:
        return Frame(picture=None, problem=f"No graph is drawn of {drawing.summary}.")
    try:
        shown = picture(drawing)
    except UsageError as error:
        return Frame(picture=None, problem=str(error))
    # A picture hides its parts from screen readers, and these can be pressed.
    shown.set("role", "group")
    boxes = [group for group in shown.iter("g") if _is_box(group)]
    for number, (node, group) in enumerate(zip(drawing.nodes, boxes, strict=True)):
        if node.mark is None or node.kind is NodeKind.MISSING:
            continue
        group.attrib |= {"class": "node", "data-step": str(number), "role": "button"}
        group.set("tabindex", "0")
    return Frame(picture=shown)


def _is_box(group: ET.Element) -> bool:
    return any(part.get("class", "").startswith("box ") for part in group.findall("*"))
