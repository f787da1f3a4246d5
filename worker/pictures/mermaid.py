"""A drawing as text that other tools draw: Mermaid (GitHub shows it) and DOT (Graphviz)."""

from __future__ import annotations

from worker.pictures.drawing import Box, Drawing, Tone

_SHAPES = {"trigger": ('(["', '"])'), "empty": ('("', '")'), "missing": ('{{"', '"}}')}
_LINES = {"failure": "-.->", "disabled": "-.-x", "never": "-.-x"}
_DOT_STYLES = {"failure": "dashed", "disabled": "dotted", "never": "dotted"}
_COLOURS = {Tone.COVERED: "#1a7f37", Tone.PARTLY: "#9a6700", Tone.MISSED: "#cf222e"}


def mermaid(drawing: Drawing) -> str:
    """The text of a Mermaid flowchart."""
    lines = ["flowchart TD"]
    for place, box in enumerate(drawing.boxes):
        opening, closing = _SHAPES.get(box.kind, ('["', '"]'))
        lines.append(f"  n{place}{opening}{_entities(_words(box))}{closing}")
    for arrow in drawing.arrows:
        label = _entities(f"{arrow.label} {arrow.mark.badge}".strip())
        text = f'|"{label}"|' if label else ""
        line = _LINES.get(arrow.style, "-->")
        lines.append(f"  n{arrow.source} {line}{text} n{arrow.target}")
    for tone, colour in _COLOURS.items():
        marked = [f"n{n}" for n, box in enumerate(drawing.boxes) if box.mark.tone is tone]
        if marked:
            lines += [
                f"  classDef {tone} stroke:{colour},stroke-width:2px",
                f"  class {','.join(marked)} {tone}",
            ]
        strokes = [str(n) for n, one in enumerate(drawing.arrows) if one.mark.tone is tone]
        if strokes:
            lines.append(f"  linkStyle {','.join(strokes)} stroke:{colour},stroke-width:2px")
    return "\n".join(lines) + "\n"


def dot(drawing: Drawing) -> str:
    """The text of a Graphviz graph."""
    lines = ["digraph workflow {", '  node [shape=box, style=rounded, fontname="sans-serif"];']
    for place, box in enumerate(drawing.boxes):
        colour = _COLOURS.get(box.mark.tone, "#8a96a3")
        shape = "oval" if box.kind == "trigger" else "box"
        lines.append(f'  n{place} [label={_quoted(_words(box))}, shape={shape}, color="{colour}"];')
    for arrow in drawing.arrows:
        label = _quoted(f"{arrow.label} {arrow.mark.badge}".strip())
        style = (
            "dashed" if arrow.style == "failure" else "dotted" if arrow.style in _LINES else "solid"
        )
        colour = _COLOURS.get(arrow.mark.tone, "#8a96a3")
        line = f'label={label}, style={style}, color="{colour}"'
        lines.append(f"  n{arrow.source} -> n{arrow.target} [{line}];")
    return "\n".join([*lines, "}"]) + "\n"


def _words(box: Box) -> str:
    parts = (f"{box.title} {box.mark.badge}".strip(), box.subtitle)
    return "\n".join(part for part in parts if part)


def _entities(text: str) -> str:
    """Every character that could mean something to Mermaid, by its number."""
    kept = (char if char.isalnum() or char in " ._-" else f"#{ord(char)};" for char in text)
    return "".join(kept).replace("#10;", "<br>")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
