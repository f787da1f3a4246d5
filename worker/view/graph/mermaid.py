"""A drawing as the text of a Mermaid flowchart, which code hosts show in Markdown.

Names are generated. What could be read as syntax, Markdown or HTML in a label becomes an entity.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from worker.view.graph.drawing import Arrow, Drawing, DrawnNode, NodeKind, Style
from worker.view.graph.palette import TONES
from worker.view.graph.styles import DAY

_SPECIAL = re.compile(r"[\x21-\x7e](?<![A-Za-z0-9.,:/@_()?=+'-])")
# Mermaid takes a label that begins like a list for one, and shows none of it.
_LIST = re.compile(r"^(\d*)([.)+-])")
_LINES = {
    Style.FAILURE: "-.->",
    Style.DISABLED: "-.-x",
    Style.NEVER: "-.-x",
}
_COLOURS = {
    Style.SUCCESS: DAY.success,
    Style.FAILURE: DAY.failure,
    Style.EXPRESSION: DAY.expression,
    Style.DISABLED: DAY.off,
    Style.NEVER: DAY.off,
}


def mermaid(drawing: Drawing) -> str:
    """The flowchart as text."""
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
    if node.mark:
        lines.append(f"{TONES[node.mark.tone].sign} {node.mark.badge}")
    label = _label(lines)
    match node.kind:
        case NodeKind.TRIGGER:
            return f"{{{{{label}}}}}"
        case NodeKind.JOB:
            return f"({label})"
        case _:
            return f"[{label}]"


def _line(edge: Arrow) -> str:
    lines = [edge.label, edge.condition, "⊘ disabled" if edge.style is Style.DISABLED else ""]
    if edge.mark:
        lines.append(f"{TONES[edge.mark.tone].sign} {edge.mark.badge}")
    label = f"|{_label(lines)}|" if any(lines) else ""
    return f"{_LINES.get(edge.style, '-->')}{label}"


def _label(lines: list[str]) -> str:
    return f'"{"<br>".join(escaped(line) for line in lines if line)}"'


def escaped(text: str) -> str:
    """A text that Mermaid shows as it is, inside double quotes."""
    safe = _SPECIAL.sub(lambda found: f"#{ord(found[0])};", text.strip())
    return _LIST.sub(lambda found: f"{found[1]}#{ord(found[2])};", safe)


def _quoted_yaml(text: str) -> str:
    """The title stands before the chart, where directives are looked for too."""
    safe = _SPECIAL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return f'"{safe}"'


def _class(node: DrawnNode) -> str:
    if node.mark:
        return f":::{node.mark.tone}"
    return "" if node.kind is NodeKind.JOB else f":::{_class_name(node.kind)}"


def _class_name(kind: NodeKind) -> str:
    return kind.replace("-", "")


def _link_styles(drawing: Drawing) -> Iterator[str]:
    for number, edge in enumerate(drawing.edges):
        colour = _COLOURS.get(edge.style)
        if edge.mark:
            line = TONES[edge.mark.tone].colours.line[0]
            yield f"  linkStyle {number} stroke:{line},stroke-width:3px"
        elif colour:
            yield f"  linkStyle {number} stroke:{colour}"


def _classes(drawing: Drawing) -> Iterator[str]:
    """Only those that are used."""
    kinds = {node.kind for node in drawing.nodes if not node.mark}
    if NodeKind.TRIGGER in kinds:
        yield f"  classDef trigger fill:{DAY.trigger},stroke:{DAY.trigger_line},color:{DAY.ink}"
    if NodeKind.CODELESS in kinds:
        yield "  classDef codeless stroke-dasharray:2 3"
    if NodeKind.MISSING in kinds:
        yield f"  classDef missing stroke:{DAY.failure},stroke-dasharray:5 4"
    used = {node.mark.tone for node in drawing.nodes if node.mark}
    for tone in TONES.values():
        if tone.name in used:
            fill, line = tone.colours.tint[0], tone.colours.line[0]
            yield f"  classDef {tone.name} fill:{fill},stroke:{line},color:{DAY.ink}"
