"""DOT output, for people who lay out the graph with Graphviz."""

from __future__ import annotations

from collections.abc import Iterator

from worker.view.graph.annotation_styles import ANNOTATION_STYLES
from worker.view.graph.drawing import Drawing, DrawnEdge, DrawnNode, EdgeStyle, NodeKind
from worker.view.graph.themes import LIGHT

_FONT = 'fontname="Helvetica,Arial,sans-serif"'
_NODES = {
    NodeKind.TRIGGER: {"shape": "hexagon", "fillcolor": LIGHT.trigger, "color": LIGHT.trigger_line},
    NodeKind.JOB: {},
    NodeKind.CODELESS: {"style": "rounded,filled,dotted"},
    NodeKind.MISSING: {"style": "rounded,filled,dashed", "color": LIGHT.failure},
}
_EDGES = {
    EdgeStyle.ALWAYS: {},
    EdgeStyle.SUCCESS: {"color": LIGHT.success, "fontcolor": LIGHT.success},
    EdgeStyle.FAILURE: {"color": LIGHT.failure, "fontcolor": LIGHT.failure, "style": "dashed"},
    EdgeStyle.EXPRESSION: {
        "color": LIGHT.expression, "fontcolor": LIGHT.expression, "dir": "both",
        "arrowtail": "odiamond",
    },
    EdgeStyle.DISABLED: {"color": LIGHT.off, "style": "dotted", "arrowhead": "tee"},
    EdgeStyle.NEVER: {"color": LIGHT.off, "style": "dotted", "arrowhead": "tee"},
}  # fmt: skip


def render_dot(drawing: Drawing) -> str:
    """Render the graph in the DOT language."""
    return "\n".join(_statements(drawing)) + "\n"


def _statements(drawing: Drawing) -> Iterator[str]:
    yield "digraph {"
    yield f"  graph [label={_quoted(drawing.title)}, labelloc=t, rankdir=TB, {_FONT}]"
    yield (
        f'  node [shape=box, style="rounded,filled", fillcolor="{LIGHT.job}", '
        f'color="{LIGHT.job_line}", {_FONT}]'
    )
    yield f'  edge [color="{LIGHT.always}", fontsize=11, {_FONT}]'
    for node in drawing.nodes:
        yield f"  {node.key} {_attributes(_node(node))}"
    for edge in drawing.edges:
        yield f"  {edge.source} -> {edge.target} {_attributes(_edge(edge))}"
    yield "}"


def _node(node: DrawnNode) -> dict[str, str]:
    lines = [node.title, node.subtitle]
    attributes = {**_NODES[node.kind], "tooltip": node.tooltip}
    if node.annotation:
        style = ANNOTATION_STYLES[node.annotation.style]
        lines.append(f"{style.symbol} {node.annotation.badge}")
        attributes |= {"fillcolor": style.colors.tint[0], "color": style.colors.line[0]}
        attributes["penwidth"] = "2"
    return {"label": _lines(lines), **attributes}


def _edge(edge: DrawnEdge) -> dict[str, str]:
    lines = [edge.label, edge.condition, "⊘ disabled" if edge.style is EdgeStyle.DISABLED else ""]
    attributes = {**_EDGES[edge.style], "tooltip": edge.tooltip, "labeltooltip": edge.tooltip}
    if edge.annotation:
        style = ANNOTATION_STYLES[edge.annotation.style]
        lines.append(f"{style.symbol} {edge.annotation.badge}")
        attributes |= {"color": style.colors.line[0], "penwidth": "2"}
    label = _lines(lines)
    return {"label": label, **attributes} if label else attributes


def _lines(lines: list[str]) -> str:
    return "\n".join(line.strip() for line in lines if line)


def _attributes(attributes: dict[str, str]) -> str:
    return f"[{', '.join(f'{key}={_quoted(value)}' for key, value in attributes.items())}]"


def _quoted(text: str) -> str:
    # Graphviz decodes HTML entities and C escapes in quoted strings.
    safe = text.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")
    return '"' + safe.replace("\n", "\\n") + '"'
