"""A drawing in Graphviz's language, for those who lay it out with Graphviz. Names are generated."""

from __future__ import annotations

from collections.abc import Iterator

from worker.view.graph.drawing import Arrow, Drawing, DrawnNode, NodeKind, Style
from worker.view.graph.palette import TONES
from worker.view.graph.styles import DAY

_FONT = 'fontname="Helvetica,Arial,sans-serif"'
_NODES = {
    NodeKind.TRIGGER: {"shape": "hexagon", "fillcolor": DAY.trigger, "color": DAY.trigger_line},
    NodeKind.JOB: {},
    NodeKind.CODELESS: {"style": "rounded,filled,dotted"},
    NodeKind.MISSING: {"style": "rounded,filled,dashed", "color": DAY.failure},
}
_EDGES = {
    Style.ALWAYS: {},
    Style.SUCCESS: {"color": DAY.success, "fontcolor": DAY.success},
    Style.FAILURE: {"color": DAY.failure, "fontcolor": DAY.failure, "style": "dashed"},
    Style.EXPRESSION: {
        "color": DAY.expression, "fontcolor": DAY.expression, "dir": "both", "arrowtail": "odiamond"
    },
    Style.DISABLED: {"color": DAY.off, "style": "dotted", "arrowhead": "tee"},
    Style.NEVER: {"color": DAY.off, "style": "dotted", "arrowhead": "tee"},
}  # fmt: skip


def dot(drawing: Drawing) -> str:
    """The graph as text."""
    return "\n".join(_statements(drawing)) + "\n"


def _statements(drawing: Drawing) -> Iterator[str]:
    yield "digraph {"
    yield f"  graph [label={_quoted(drawing.title)}, labelloc=t, rankdir=TB, {_FONT}]"
    yield (
        f'  node [shape=box, style="rounded,filled", fillcolor="{DAY.job}", '
        f'color="{DAY.job_line}", {_FONT}]'
    )
    yield f'  edge [color="{DAY.always}", fontsize=11, {_FONT}]'
    for node in drawing.nodes:
        yield f"  {node.key} {_attributes(_node(node))}"
    for edge in drawing.edges:
        yield f"  {edge.source} -> {edge.target} {_attributes(_edge(edge))}"
    yield "}"


def _node(node: DrawnNode) -> dict[str, str]:
    lines = [node.title, node.subtitle]
    found = {**_NODES[node.kind], "tooltip": node.tooltip}
    if node.mark:
        tone = TONES[node.mark.tone]
        lines.append(f"{tone.sign} {node.mark.badge}")
        found |= {"fillcolor": tone.colours.tint[0], "color": tone.colours.line[0]}
        found["penwidth"] = "2"
    return {"label": _lines(lines), **found}


def _edge(edge: Arrow) -> dict[str, str]:
    lines = [edge.label, edge.condition, "⊘ disabled" if edge.style is Style.DISABLED else ""]
    found = {**_EDGES[edge.style], "tooltip": edge.tooltip, "labeltooltip": edge.tooltip}
    if edge.mark:
        tone = TONES[edge.mark.tone]
        lines.append(f"{tone.sign} {edge.mark.badge}")
        found |= {"color": tone.colours.line[0], "penwidth": "2"}
    label = _lines(lines)
    return {"label": label, **found} if label else found


def _lines(lines: list[str]) -> str:
    return "\n".join(line.strip() for line in lines if line)


def _attributes(found: dict[str, str]) -> str:
    return f"[{', '.join(f'{key}={_quoted(value)}' for key, value in found.items())}]"


def _quoted(text: str) -> str:
    """A text that Graphviz shows as it is: it reads entities as HTML does, and escapes as C."""
    safe = text.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")
    return '"' + safe.replace("\n", "\\n") + '"'
