"""Mermaid output, which code hosts render in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator

from worker.view.graph.annotation_styles import ANNOTATION_STYLES
from worker.view.graph.drawing import Drawing, DrawnEdge, DrawnNode, EdgeStyle, NodeKind
from worker.view.graph.themes import LIGHT

# Printable ASCII characters that are not known to be safe become entities: they could be syntax of
# Mermaid, Markdown or HTML.
_SPECIAL = re.compile(r"[\x21-\x7e](?<![A-Za-z0-9.,:/@_()?=+'-])")
# Mermaid takes a label that begins like a Markdown list for a list, and shows none of it.
_LIST = re.compile(r"^(\d*)([.)+-])")
_LINES = {
    EdgeStyle.FAILURE: "-.->",
    EdgeStyle.DISABLED: "-.-x",
    EdgeStyle.NEVER: "-.-x",
}
_COLORS = {
    EdgeStyle.SUCCESS: LIGHT.success,
    EdgeStyle.FAILURE: LIGHT.failure,
    EdgeStyle.EXPRESSION: LIGHT.expression,
    EdgeStyle.DISABLED: LIGHT.off,
    EdgeStyle.NEVER: LIGHT.off,
}


def render_mermaid(drawing: Drawing) -> str:
    """Render the graph as a flowchart."""
    return "\n".join(_statements(drawing)) + "\n"


def _statements(drawing: Drawing) -> Iterator[str]:
    yield from ("---", f"title: {_quoted_yaml(drawing.title)}", "---", "flowchart TD")
    for node in drawing.nodes:
        yield f"  {node.key}{_box(node)}{_class(node)}"
    for edge in drawing.edges:
        yield f"  {edge.source} {_line(edge)} {edge.target}"
    yield from _link_styles(drawing)
    yield from _classes(drawing)


def _box(node: DrawnNode) -> str:
    lines = [node.title, node.subtitle]
    if node.annotation:
        lines.append(f"{ANNOTATION_STYLES[node.annotation.style].symbol} {node.annotation.badge}")
    label = _label(lines)
    match node.kind:
        case NodeKind.TRIGGER:
            return f"{{{{{label}}}}}"
        case NodeKind.JOB:
            return f"({label})"
        case _:
            return f"[{label}]"


def _line(edge: DrawnEdge) -> str:
    lines = [edge.label, edge.condition, "⊘ disabled" if edge.style is EdgeStyle.DISABLED else ""]
    if edge.annotation:
        lines.append(f"{ANNOTATION_STYLES[edge.annotation.style].symbol} {edge.annotation.badge}")
    label = f"|{_label(lines)}|" if any(lines) else ""
    return f"{_LINES.get(edge.style, '-->')}{label}"


def _label(lines: list[str]) -> str:
    return f'"{"<br>".join(escape_label(line) for line in lines if line)}"'


def escape_label(text: str) -> str:
    """Escape a text for a label in double quotes."""
    safe = _SPECIAL.sub(lambda match: f"#{ord(match[0])};", text.strip())
    return _LIST.sub(lambda match: f"{match[1]}#{ord(match[2])};", safe)


def _quoted_yaml(text: str) -> str:
    # Mermaid looks for directives in the title too.
    safe = _SPECIAL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    return f'"{safe}"'


def _class(node: DrawnNode) -> str:
    if node.annotation:
        return f":::{_class_name(node.annotation.style)}"
    return "" if node.kind is NodeKind.JOB else f":::{_class_name(node.kind)}"


def _class_name(name: str) -> str:
    # A hyphen could be read as the beginning of a link.
    return name.replace("-", "")


def _link_styles(drawing: Drawing) -> Iterator[str]:
    for number, edge in enumerate(drawing.edges):
        color = _COLORS.get(edge.style)
        if edge.annotation:
            line = ANNOTATION_STYLES[edge.annotation.style].colors.line[0]
            yield f"  linkStyle {number} stroke:{line},stroke-width:3px"
        elif color:
            yield f"  linkStyle {number} stroke:{color}"


def _classes(drawing: Drawing) -> Iterator[str]:
    kinds = {node.kind for node in drawing.nodes if not node.annotation}
    if NodeKind.TRIGGER in kinds:
        fill, line = LIGHT.trigger, LIGHT.trigger_line
        yield f"  classDef trigger fill:{fill},stroke:{line},color:{LIGHT.ink}"
    if NodeKind.CODELESS in kinds:
        yield "  classDef codeless stroke-dasharray:2 3"
    if NodeKind.MISSING in kinds:
        yield f"  classDef missing stroke:{LIGHT.failure},stroke-dasharray:5 4"
    used = {node.annotation.style for node in drawing.nodes if node.annotation}
    for style in ANNOTATION_STYLES.values():
        if style.name in used:
            fill, line = style.colors.tint[0], style.colors.line[0]
            name = _class_name(style.name)
            yield f"  classDef {name} fill:{fill},stroke:{line},color:{LIGHT.ink}"
